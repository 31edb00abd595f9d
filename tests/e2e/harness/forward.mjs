/** What proxies do: a request goes on to the upstream as it is, and `answered` does with the answer what that proxy is for. */

import http from "node:http";

export function forward(upstream, request, response, answered) {
  const { method, url: path, headers } = request;
  const onward = http.request(new URL(path, upstream), { method, headers: { ...headers, host: new URL(upstream).host } }, (answer) => {
    // What breaks off there breaks off here.
    answer.on("close", () => answer.complete || response.destroy());
    return answered(answer);
  });
  onward.on("error", () => (response.headersSent ? response.destroy() : response.writeHead(502).end()));
  response.on("close", () => onward.destroy());
  request.pipe(onward);
}
