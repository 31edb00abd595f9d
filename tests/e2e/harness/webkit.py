#!/usr/bin/python3
"""
WebKitGTK as a browser for WebDriver: webkit.py FOLDER [--private]. It keeps its profile in the folder, which MiniBrowser does not
while it is driven; and it brings its own display, since WebKitGTK has no mode without.
"""

import os
import subprocess
import sys

# It ends when the browser is gone, however that ended.
display = subprocess.Popen(
    ["Xvfb", "-displayfd", "1", "-terminate", "-nolisten", "tcp"], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, start_new_session=True
)
os.environ.update(DISPLAY=":" + display.stdout.readline().strip(), GDK_BACKEND="x11")

import gi

gi.require_version("Gtk", "3.0")
gi.require_version("WebKit2", "4.1")
from gi.repository import Gtk, WebKit2

folder, *options = sys.argv[1:]
if "--private" in options:
    data = WebKit2.WebsiteDataManager.new_ephemeral()
else:
    data = WebKit2.WebsiteDataManager(base_data_directory=folder, base_cache_directory=folder)
context = WebKit2.WebContext(website_data_manager=data)
context.set_automation_allowed(True)


def open_view(_session):
    view = WebKit2.WebView(web_context=context, is_controlled_by_automation=True)
    window = Gtk.Window(default_width=1000, default_height=760)
    window.add(view)
    view.connect("close", lambda _view: window.destroy())
    window.show_all()
    return view


def begin(_context, session):
    info = WebKit2.ApplicationInfo()
    info.set_name("WebKitGTK")
    info.set_version(WebKit2.get_major_version(), WebKit2.get_minor_version(), WebKit2.get_micro_version())
    session.set_application_info(info)
    session.connect("create-web-view", open_view)


context.connect("automation-started", begin)
Gtk.main()
