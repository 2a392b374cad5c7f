"A Jupyter server of one's own, and Debian's Chromium driven by Playwright: both started for a test, on 127.0.0.1, and ended by it."
import base64, json, os, secrets, shutil, subprocess, sys, time, urllib.request
from contextlib import contextmanager, suppress
from pathlib import Path
from processes import free_port
from urllib.parse import quote
import pytest

ARGUMENTS = ['--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run', '--disable-background-networking', '--disable-component-update', '--disable-sync']
WAIT = int(os.environ.get('BROWSER_WAIT', 300))  # s, for anything at all; a busy machine is slow, and no test measures time

def chromium():
    "Where Chromium is; a test that needs it is skipped without."
    pytest.importorskip('playwright', reason="needs Playwright: pip install 'amodal_nb[dev]'")
    path = next(filter(None, map(shutil.which, ('chromium', 'chromium-browser', 'google-chrome'))), None)
    if not path: pytest.skip('needs Chromium: apt-get install chromium (Debian), or any package that gives a command chromium or google-chrome')
    return path

@contextmanager
def browser():
    "Chromium without a window."
    path = chromium()
    from playwright.sync_api import sync_playwright
    with sync_playwright() as playwright:
        chrome = playwright.chromium.launch(executable_path=path, headless=True, args=ARGUMENTS)
        try: yield chrome
        finally: chrome.close()

@contextmanager
def page_of(chrome, width=1280, height=1000, **how):
    "A page; `errors` collects what its console calls an error."
    page = chrome.new_page(viewport={'width': width, 'height': height}, **how)
    page.set_default_timeout(WAIT*1000)
    page.errors = []
    page.on('console', lambda m: page.errors.append(m.text) if m.type == 'error' else None)
    page.on('pageerror', lambda e: page.errors.append(e.stack or str(e))) # says whose code it was
    try: yield page
    finally: page.close()


OPEN_ALONE = """async name => {
    for (const widget of [...jupyterapp.shell.widgets('main')]) {
        if (widget.context) widget.context.model.dirty = false;  // nobody is asked whether to save it
        widget.close();
    }
    await jupyterapp.serviceManager.sessions.refreshRunning();  // a kernel that it shall share
    await jupyterapp.commands.execute('docmanager:open', {path: name});
}"""

class Server:
    "JupyterLab (which serves Notebook 7 too) over a folder, with a token; its settings are its own. A context manager."
    def __init__(self, folder):
        self.folder, self.token, self.port = Path(folder), secrets.token_hex(16), free_port()
        self.url, self.shared = f'http://127.0.0.1:{self.port}', None
    def __enter__(self):
        own = self.folder/'.jupyter'
        settings = own/'lab'/'@jupyterlab'/'apputils-extension'
        settings.mkdir(parents=True)
        (settings/'notification.jupyterlab-settings').write_text('{"fetchNews": "false", "checkForUpdates": false}')
        env = os.environ | {'JUPYTER_TOKEN': self.token, 'JUPYTER_CONFIG_DIR': str(own), 'JUPYTER_RUNTIME_DIR': str(own/'run'), 'JUPYTERLAB_SETTINGS_DIR': str(own/'lab'),
                            'JUPYTERLAB_WORKSPACES_DIR': str(own/'work'), 'IPYTHONDIR': str(own/'ipython'), 'XDG_CACHE_HOME': str(own/'cache')}
        command = [sys.executable, '-m', 'jupyterlab', '--no-browser', '--allow-root', '--ip=127.0.0.1', f'--port={self.port}', '--ServerApp.port_retries=0',
                   f'--ServerApp.root_dir={self.folder}', '--ServerApp.terminals_enabled=False', '--LabApp.expose_app_in_browser=True']
        self.log = open(own/'log', 'w')
        self.process = subprocess.Popen(command, env=env, stdin=subprocess.DEVNULL, stdout=self.log, stderr=subprocess.STDOUT)
        wait_for(f'{self.url}/api', self.process, own/'log')
        return self
    def __exit__(self, *error):
        end(self.process)
        self.log.close()
    def api(self, method, path, body=None):
        "Ask the server's REST interface; the answer, if it is JSON."
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(f'{self.url}/api/{path}', data, {'Authorization': f'token {self.token}'}, method=method)
        with urllib.request.urlopen(request, timeout=WAIT) as answer: text = answer.read()
        return json.loads(text) if text else None
    def write(self, name, *cells):
        "A notebook of these code cells."
        cells = [{'cell_type': 'code', 'id': f'c{i}', 'metadata': {}, 'outputs': [], 'execution_count': None, 'source': s} for i, s in enumerate(cells)]
        kernel = {'name': 'python3', 'display_name': 'Python 3', 'language': 'python'}
        (self.folder/name).write_text(json.dumps({'nbformat': 4, 'nbformat_minor': 5, 'metadata': {'kernelspec': kernel}, 'cells': cells}))
        return name
    def wait_for_kernel(self, page, name):
        "Until a notebook's kernel is connected: cells that are run before make JupyterLab ask for a kernel, in a dialog that blocks everything."
        until = time.monotonic() + WAIT
        while not any(s['path'] == name and s['kernel']['connections'] and s['kernel']['execution_state'] == 'idle' for s in self.api('GET', 'sessions')):
            assert time.monotonic() < until, f'{name}: its kernel did not start'
            page.wait_for_timeout(100) # the page goes on meanwhile
    def share_kernel(self, name):
        "Let a notebook have the kernel that others had, with nothing of theirs in it: pages restore the widgets that a kernel knows."
        if self.shared is None: self.shared = self.api('POST', 'kernels', {'name': 'python3', 'path': name})['id']
        self.api('POST', 'sessions', {'path': name, 'name': name, 'type': 'notebook', 'kernel': {'id': self.shared}})
        from jupyter_client import BlockingKernelClient
        client = BlockingKernelClient(connection_file=str(self.folder/'.jupyter'/'run'/f'kernel-{self.shared}.json'))
        client.load_connection_file()
        client.start_channels()
        reply = client.execute('import ipywidgets\nipywidgets.Widget.close_all()\n%reset -f', reply=True, timeout=WAIT)
        assert reply['content']['status'] == 'ok', reply['content']
        client.stop_channels()
    def open(self, page, name, how=None):
        """Open a notebook, and no other one, in JupyterLab in a workspace of its own. Where the page shows this JupyterLab already, it goes on there: to load
        all of its scripts takes ten seconds of a core."""
        if how is None and page.url.startswith(f'{self.url}/lab'): page.evaluate(OPEN_ALONE, name)
        else: page.goto(f'{self.url}/{how or f"lab/workspaces/{Path(name).stem}/tree"}/{quote(name)}?token={self.token}')
    def run(self, page, name, how=None, share_kernel=False):
        "Open a notebook and run all of its cells; what the page complained of before is not the notebook's."
        if share_kernel: self.share_kernel(name)
        self.open(page, name, how)
        page.locator('.jp-Notebook .jp-CodeCell').first.wait_for()
        self.wait_for_kernel(page, name)
        page.wait_for_function("document.querySelector('.jp-Notebook-ExecutionIndicator')?.dataset.status === 'idle'")
        page.errors.clear()
        for _ in range(5):  # a click that comes while the page is still being built is lost
            page.get_by_role('menuitem', name='Run', exact=True).click()
            page.get_by_role('menuitem', name='Run All Cells', exact=True).click()
            with suppress(Exception): return page.wait_for_function("[...document.querySelectorAll('.jp-InputPrompt')].some(o => /[*\\d]/.test(o.textContent))", timeout=10000)

def wait_for(url, process, log):
    "Until a server answers."
    until = time.monotonic() + WAIT
    while True:
        try: return urllib.request.urlopen(url, timeout=WAIT).close()
        except urllib.error.HTTPError: return  # it answers
        except OSError:
            assert process.poll() is None and time.monotonic() < until, Path(log).read_text()[-2000:]
            time.sleep(.1)

def end(process):
    "Ask a process to end, and wait until it has."
    process.terminate()
    try: process.wait(WAIT)
    except subprocess.TimeoutExpired: process.kill(); process.wait()

MODEL = """async ({widgets, css, theme}) => {
  const decode = v => v?.$bytes !== undefined ? new DataView(Uint8Array.from(atob(v.$bytes), c => c.charCodeAt(0)).buffer)
    : Array.isArray(v) ? v.map(decode) : v && typeof v === 'object' ? Object.fromEntries(Object.entries(v).map(([k, o]) => [k, decode(o)])) : v;
  document.head.append(Object.assign(document.createElement('style'), {textContent: css}));
  document.documentElement.style.colorScheme = theme;
  document.body.dataset.jpThemeLight = String(theme === 'light');
  document.body.style.background = theme === 'light' ? '#fff' : '#111';
  document.body.replaceChildren(...widgets.map(() => document.createElement('div')));
  for (const [index, {traits, code}] of widgets.entries()) {
    const values = decode(traits), listeners = {};
    const model = {
      saved: 0,
      sent: [],
      get: k => values[k],
      set: (k, v) => {
        if (JSON.stringify(values[k]) === JSON.stringify(v)) return;
        values[k] = v;
        for (const f of listeners[`change:${k}`] ?? []) f();
      },
      save_changes: () => { model.saved++; },
      send: message => model.sent.push(message),
      on: (k, f) => (listeners[k] ??= []).push(f),
      off: (k, f) => { listeners[k] = (listeners[k] ?? []).filter(o => o !== f); },
    };
    const widget = await import(URL.createObjectURL(new Blob([code], {type: 'text/javascript'})));
    widget.default.render({model, el: document.body.children[index]});
  }
}"""

NOT_TRAITS = {'layout', 'tabbable', 'tooltip', 'comm', 'keys'}

def as_json(value):
    "Replace bytes by their base64."
    if isinstance(value, dict): return {k: as_json(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)): return [as_json(v) for v in value]
    return {'$bytes': base64.b64encode(value).decode()} if isinstance(value, (bytes, memoryview)) else value

def show_widgets(page, *widgets, theme='light'):
    "Show widgets on a page of their own, without Jupyter: a stand-in for each widget's model holds the traits, and keeps what is sent."
    page.route('http://localhost/**', lambda route: route.fulfill(body='<!doctype html><html lang="en"><title>widgets</title>', content_type='text/html')) # its clipboard works
    page.goto('http://localhost/')
    def state(widget): return {k: as_json(getattr(widget, k)) for k in widget.keys if k not in NOT_TRAITS and k not in ('_esm', '_css')}
    page.evaluate(MODEL, {'widgets': [{'traits': state(w), 'code': w._esm} for w in widgets], 'css': widgets[0]._css, 'theme': theme})

NO_AXE = 'needs axe-core beside ESLint: npm install --global eslint axe-core'

def axe_path():
    "Where axe-core is, beside ESLint; None without."
    eslint = shutil.which('eslint')
    path = eslint and Path(eslint).resolve().parents[2]/'axe-core'/'axe.min.js'
    return path if path and path.exists() else None

def axe_script():
    "axe-core's source; a test that needs it is skipped without."
    path = axe_path()
    if not path: pytest.skip(NO_AXE)
    return path.read_text(encoding='utf-8')

def violations(page, selector, *rules_off):
    "What axe finds wrong in the elements of a selector: [rule, element, summary] each."
    page.evaluate(axe_script())
    result = page.evaluate('([selector, off]) => axe.run(selector, {resultTypes: ["violations"], rules: Object.fromEntries(off.map(k => [k, {enabled: false}]))})', [selector, list(rules_off)])
    return [[o['id'], node['html'][:120], node['failureSummary'].split('\n')[-1].strip()] for o in result['violations'] for node in o['nodes']]

class CanvasPage:
    "A widget with a canvas on a page, as a person and as a programmer see it; its functions in JavaScript take the front-end's object `kind`."
    kind = '' # what the front-end calls it
    def __init__(self, page, which=0):
        self.page, self.box = page, page.locator(f'.amodal-{self.kind}').nth(which)
        self.canvas = self.box.locator('.ai-canvas')
        self.canvas.scroll_into_view_if_needed()
        self.wait('o => o.painted > 0')
    def js(self, f, argument=None): return self.box.evaluate(f'(e, a) => ({f})(e.{self.kind}, a)', argument)
    def wait(self, f):
        "Until a function of the object is true."
        self.page.wait_for_function(f'e => e.{self.kind} && ({f})(e.{self.kind})', arg=self.box.element_handle())
    def place(self, x, y):
        "Where on the screen the middle of a pixel is."
        self.canvas.scroll_into_view_if_needed()
        left, top = self.js('(o, p) => o.onScreen(p)', [x + .5, y + .5])
        box = self.canvas.bounding_box()
        return box['x'] + left, box['y'] + top

class Inspector(CanvasPage):
    "An inspector on a page."
    kind = 'inspector'
    def hover(self, x, y):
        self.page.mouse.move(*self.place(x, y))
        self.wait(f'i => i.place.textContent.startsWith("x {x}, y {y}") && !i.place.textContent.includes("about")')
    def shown_weights(self): return self.js('i => i.rows.map(o => +o.value.title)')
    def weights(self, x, y): return self.js('(i, [x, y]) => i.rows.map((_, s) => i.fusion.weight(s, x, y))', [x, y])
    def result(self):
        import numpy as np
        w, h = self.js('i => i.meta.shown')
        return np.array(self.js('i => Array.from(i.fusion.result)'), np.uint8).reshape(h, w, 3)
    def pixel(self, x, y):
        "What the canvas shows there, [R,G,B], once it has drawn what is asked of it."
        self.wait('i => !i.due')
        point = self.js('(i, p) => i.onScreen(p).map(v => Math.floor(v*i.ratio))', [x + .5, y + .5])
        return self.js('(i, [x, y]) => Array.from(i.canvas.getContext("2d").getImageData(x, y, 1, 1).data.slice(0, 3))', point)
    def legend_text(self): return self.js('i => i.legend.innerText')
    def stack(self): return self.js('i => i.sequence.map(s => s + 1)')
    def corrections(self): return [tuple(p) for p in self.js('i => i.get("corrections")')]
    def drag(self, slot, place):
        "Drag a completion's card to a place in the stack, from 0."
        card, to = self.box.locator(f'.ai-card[data-slot="{slot}"]'), self.box.locator('.ai-card').nth(place)
        card.scroll_into_view_if_needed()
        a, b, down = card.bounding_box(), to.bounding_box(), self.stack().index(slot) < place
        x = a['x'] + a['width']/2 # on the name
        self.page.mouse.move(x, a['y'] + a['height']/2)
        self.page.mouse.down()
        self.page.mouse.move(x, (a['y'] + b['y'])/2, steps=4)
        self.page.mouse.move(x, b['y'] + (b['height'] - 3 if down else 3), steps=4)
        self.page.mouse.up()
    def notice(self, text):
        "Wait for a line that contains this; all of the line."
        line = self.box.locator('.ai-notice', has_text=text)
        line.wait_for()
        return line.locator('span').first.inner_text()
