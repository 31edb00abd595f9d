/** The list on the page. Elements are kept from one showing to the next, so that focus and unfinished edits survive. */

export type Item = { id: string; title: string; done: number };

export class ListView {
  onToggle: (id: string, done: boolean) => void = () => {};
  onRename: (id: string, title: string) => void = () => {};
  onDelete: (id: string) => void = () => {};

  readonly #list: HTMLElement;
  readonly #template: HTMLTemplateElement;
  readonly #rows = new Map<string, RowView>();
  #shown = false;

  constructor(list: HTMLElement, template: HTMLTemplateElement) {
    this.#list = list;
    this.#template = template;
  }

  show(items: readonly Item[]): void {
    const ids = new Set(items.map((item) => item.id));
    // First what is gone: then rows that stay are in order already, and a row that is moved loses its focus.
    for (const id of [...this.#rows.keys()].filter((id) => !ids.has(id))) this.#remove(id);
    let before: ChildNode | null = this.#list.firstChild;
    for (const item of items) {
      const row = this.#rows.get(item.id) ?? this.#add(item.id);
      row.show(item);
      if (row.element === before) before = before.nextSibling;
      else this.#list.insertBefore(row.element, before);
    }
    this.#shown = true;
  }

  #add(id: string): RowView {
    const row = new RowView(this.#template, id, this);
    if (this.#shown) row.element.classList.add("arrived");
    this.#rows.set(id, row);
    return row;
  }

  #remove(id: string): void {
    const element = this.#rows.get(id)?.element;
    this.#rows.delete(id);
    // The keyboard shall not lose its place.
    if (element?.contains(document.activeElement)) {
      const neighbour = element.nextElementSibling ?? element.previousElementSibling;
      (neighbour?.querySelector<HTMLElement>(".delete") ?? document.getElementById("new-title"))?.focus();
    }
    element?.remove();
  }
}

class RowView {
  readonly element: HTMLElement;
  readonly #check: HTMLInputElement;
  readonly #title: HTMLTextAreaElement;
  readonly #delete: HTMLElement;
  #item: Item = { id: "", title: "", done: 0 };

  constructor(template: HTMLTemplateElement, id: string, list: ListView) {
    const fragment = template.content.cloneNode(true) as DocumentFragment;
    const find = <E extends HTMLElement>(selector: string) => fragment.querySelector<E>(selector) as E;
    this.element = find("li");
    this.#check = find("input[type=checkbox]");
    this.#title = find(".title");
    this.#delete = find(".delete");
    this.#check.addEventListener("change", () => list.onToggle(id, this.#check.checked));
    this.#delete.addEventListener("click", () => list.onDelete(id));
    this.#title.addEventListener("change", () => {
      const title = this.#title.value.trim();
      if (title && title !== this.#item.title) list.onRename(id, title);
      else this.#title.value = this.#item.title;
    });
    this.#title.addEventListener("keydown", (event) => {
      if (event.key === "Escape") this.#title.value = this.#item.title;
      // One line of text, shown on as many as it needs.
      if (event.key === "Enter" || event.key === "Escape") this.#title.blur();
    });
  }

  show(item: Item): void {
    // What somebody is typing is not overwritten by what somebody else wrote.
    const editing = document.activeElement === this.#title && this.#title.value !== this.#item.title;
    this.#item = item;
    this.#check.checked = item.done !== 0;
    this.#check.setAttribute("aria-label", `Done: ${item.title}`);
    this.#delete.setAttribute("aria-label", `Delete ${item.title}`);
    if (!editing) this.#title.value = item.title;
    this.element.classList.toggle("done", item.done !== 0);
    this.element.dataset["id"] = item.id;
  }
}
