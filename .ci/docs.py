"""Build the documentation site from the notebooks: python .ci/docs.py [OUT]. Fails on a link that leads nowhere, on anything loaded from elsewhere, and on a page
that is too large."""
import ast, importlib, inspect, json, logging, os, pkgutil, posixpath, re, shutil, subprocess, sys, tempfile
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

root = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(root), str(root/'.ci')]
from readme import markdown_outputs # noqa: E402

EXTRA = ['CONTRIBUTING.md', 'SECURITY.md', 'CHANGELOG.md', 'LICENSE', 'data/README.md', 'data/models/order.md', 'data/models/prior.md', 'data/models/reference.md']   # what notebooks link to, beside notebooks
PROJECT = {'Contributing': 'CONTRIBUTING.md', 'Security': 'SECURITY.md', 'Changes': 'CHANGELOG.md', 'The order model': 'data/models/order.md', 'The reference model': 'data/models/reference.md',
           'The prior of natural pairs': 'data/models/prior.md', 'Shipped data': 'data/README.md'}
FOR_USERS = 'tutorials', 'formats' # folders whose pages hide tests and imports
MAX_PAGE, MAX_SITE = 400_000, 15_000_000 # bytes

# ---- links

def heading(anchor):
    "The id that a page has for a heading, however JupyterLab or GitHub write it."
    from markdown.extensions.toc import slugify
    return slugify(unquote(anchor), '-')

def relink(text, source):
    "Markdown with its links as the site has them; `source` is where it lies in the repository. A notebook's page is its name with .md."
    def page(match):
        before, link, after = match.groups()
        if re.match(r'[a-z]+:', link): return match[0]
        file, mark, anchor = link.partition('#')
        if not file: return before + mark + (heading(anchor) if source.endswith('.ipynb') else anchor) + after
        target = posixpath.normpath(posixpath.join(posixpath.dirname(source), unquote(file)))
        if not (root/target).is_file(): sys.exit(f'{source}: links to {link}, but there is no file {target}: correct the link or add the file')
        if not target.startswith('nbs/') and target not in EXTRA: sys.exit(f'{source}: links to {link}, which the site does not hold: add it to EXTRA in .ci/docs.py')
        if mark and target.endswith('.ipynb'): anchor = heading(anchor)
        here = posixpath.dirname(source.removeprefix('nbs/')) or '.'
        file = posixpath.relpath(target.removeprefix('nbs/'), here)
        return before + re.sub(r'\.ipynb$', '.md', file) + mark + anchor + after
    parts = re.split(r'(^```.*?^```$|`[^`\n]*`)', text, flags=re.S | re.M)           # code is not text
    return ''.join(p if i % 2 else re.sub(r'((?:src|href)=")([^"]+)(")', page, re.sub(r'(\]\()([^)\s]+)(\))', page, p)) for i, p in enumerate(parts))

def repository():
    "Where the project is hosted, as CI or the clone's origin has it; None if nobody says so."
    if os.environ.get('GITHUB_REPOSITORY'): return f"{os.environ.get('GITHUB_SERVER_URL', 'https://github.com')}/{os.environ['GITHUB_REPOSITORY']}"
    origin = subprocess.run(['git', 'remote', 'get-url', 'origin'], cwd=root, capture_output=True, text=True).stdout.strip().removesuffix('.git')
    origin = re.sub(r'^git@([^:]+):', r'https://\1/', origin)
    return origin if origin.startswith('https://') and '@' not in origin else None

def edited(page):
    "The file of the repository that a page is made from: {'5_fusion/01_fuse.md': 'nbs/5_fusion/01_fuse.ipynb'}; None for a page of the reference."
    notebook = 'nbs/' + page.removesuffix('.md') + '.ipynb'
    return next((file for file in (notebook, page) if (root/file).is_file()), None)

# ---- notebooks

def is_run_by_readers(source):
    "Whether a page offers its notebook: tutorials and experiments; of the others, the package is what is run."
    return Path(source).parent.name in (*FOR_USERS, 'experiments')

def exported_names(source):
    "Names of the functions and classes that a cell exports; [] for one that exports nothing."
    if not re.match(r'\s*#\|\s*export', source): return []
    return [node.name for node in ast.parse(source).body if isinstance(node, (ast.FunctionDef, ast.ClassDef)) and not node.name.startswith('_')]

def is_for_tests(node):
    "Whether a statement is an import of something else than this package, an assertion or a test."
    if isinstance(node, ast.Import): return True
    if isinstance(node, ast.ImportFrom): return not (node.module or '').startswith('amodal_nb')
    called = node.value.func if isinstance(node, ast.Expr) and isinstance(node.value, ast.Call) else None
    return isinstance(node, ast.Assert) or isinstance(called, ast.Name) and called.id.startswith('test_')

def without_tests(source):
    "Code without the statements that a reader of a tutorial need not see; the rest as it is written."
    try: body = ast.parse(source).body
    except SyntaxError: return source                                               # a cell of another language, or with IPython's magic
    lines = source.splitlines()
    for node in body:
        if is_for_tests(node): lines[node.lineno-1:node.end_lineno] = [None]*(node.end_lineno - node.lineno + 1)
    return '\n'.join(line for line in lines if line is not None).strip('\n')

def block_lines(text):
    "Markdown with an empty line before each list and table, which Python-Markdown needs and notebooks do not."
    lines, in_code = [], False
    def kind(line): return 'item' if re.match(r'\s*([-*+]|\d+\.) ', line) else 'row' if line.startswith('|') else 'text'
    for line in text.splitlines():
        if line.startswith('```'): in_code = not in_code
        before = lines[-1] if lines else ''
        starts = kind(line) != 'text' and kind(before) == 'text' and before.strip() and not before.startswith((' ', '#'))
        if starts and not in_code: lines.append('')
        lines.append(line)
    return '\n'.join(lines)

def readable(nb, source):
    "A processed notebook as a page: no directives, no widget state, links of the site, an anchor for each exported symbol, and, where readers run it, a link to the notebook itself."
    import nbformat
    nb.metadata.pop('widgets', None)
    nb.metadata.language_info = {'name': 'python'}                                  # of its code blocks
    cells = []
    for c in nb.cells:
        c.metadata = nbformat.NotebookNode()
        if c.cell_type == 'code':
            if names := exported_names(c.source): cells.append(nbformat.v4.new_markdown_cell(''.join(f'<a id="def-{n}"></a>' for n in names)))
            c.source = re.sub(r'\A(#\|.*\n?)+', '', c.source)
            if Path(source).parent.name in FOR_USERS: c.source = without_tests(c.source)
        elif c.cell_type == 'markdown': # the table of contents would lose what is set as code
            c.source = block_lines(re.sub(r'^#+ .*$', lambda m: m[0].replace('`', ''), relink(c.source, source), flags=re.M))
        if c.source.strip() or c.get('outputs'): cells.append(c)
    nb.cells = cells
    if is_run_by_readers(source): nb.cells[0].source += f'\n\n[Download this notebook]({posixpath.basename(source)})'
    return nb

def title_of(nb, file):
    "A page's name in the navigation: what its first heading says, after its number."
    heading = re.search(r'^# (.+)$', nb.cells[0].source, re.M)
    if not heading: sys.exit(f'{file}: the first cell has no heading: begin it with "# Title"')
    number = re.match(r'\d+(?=_)', file.name)
    return f'{int(number[0])} {heading[1]}' if number else heading[1]

def small_picture(name, data):
    "(name, bytes) of a picture of a page: a PNG as WebP, which takes a quarter."
    import io
    from PIL import Image
    if not name.endswith('.png'): return name, data
    out = io.BytesIO()
    Image.open(io.BytesIO(data)).save(out, 'WEBP', quality=85)
    return (name.removesuffix('.png') + '.webp', out.getvalue()) if len(out.getvalue()) < len(data) else (name, data)

def write_page(nb, file):
    "Write a notebook as Markdown, and its pictures as files beside it."
    from nbconvert import MarkdownExporter
    resources = {'unique_key': file.stem, 'output_files_dir': f'{file.stem}_files'}
    text, resources = MarkdownExporter().from_notebook_node(nb, resources)
    outputs = {name: small_picture(name, data) for name, data in resources['outputs'].items()}
    for name, (new, _) in outputs.items(): text = text.replace(name, new)
    text = re.sub(r'^```\w*\n\s*%%(bash|sh)\b.*\n', r'```bash\n', text, flags=re.M)
    file.write_text(text, encoding='utf-8')
    for name, data in outputs.values():
        (file.parent/name).parent.mkdir(exist_ok=True)
        (file.parent/name).write_bytes(data)

def write_notebook(nb, file):
    "Write the notebook that a reader downloads: without outputs, which the page shows."
    import nbformat
    for c in nb.cells:
        if c.cell_type == 'code': c.outputs, c.execution_count = [], None
    nbformat.write(nb, file)

# ---- the reference

def modules():
    "The modules that notebooks export, with the notebook of each: [('fusion.predict', module, '5_fusion/15_predict.ipynb'), …]."
    import amodal_nb
    names = [m.name for m in pkgutil.walk_packages(amodal_nb.__path__, 'amodal_nb.') if not m.ispkg]
    found = []
    for name in names:
        made_from = re.search(r'^# AUTOGENERATED.*nbs/(\S+\.ipynb)', (root/(name.replace('.', '/') + '.py')).read_text(encoding='utf-8'), re.M)
        if made_from: found.append((name.removeprefix('amodal_nb.'), importlib.import_module(name), made_from[1]))
    return sorted(found, key=lambda m: m[2])

def own_methods(cls):
    "(name, function) of the public methods and properties that a class defines."
    for name, f in vars(cls).items():
        f = f.fget if isinstance(f, property) else f.__func__ if isinstance(f, (classmethod, staticmethod)) else f
        if inspect.isfunction(f) and f.__module__ == cls.__module__ and not name.startswith('_'): yield name, f

def described(name, obj, source, level=2):
    "The entry of a function, class or method: signature, docstring, table of parameters, link to its source."
    from nbdev.showdoc import DocmentTbl
    try: parameters = [str(p.replace(annotation=p.empty)) for k, p in inspect.signature(obj).parameters.items() if k not in ('self', 'cls')]
    except ValueError: parameters = ['…']                                           # a class that is made of C
    doc = inspect.cleandoc((obj.__doc__ or '').partition('\n\nParameters\n')[0])
    try: table = re.sub(r'\A\s*\|\s*\|', '| **Parameter** |', DocmentTbl(obj)._repr_markdown_().replace('NoneType', 'object'))
    except Exception: table = ''                                                    # nothing there that it could read
    signature = f"{name}({', '.join(parameters)})"
    if len(signature) > 100: signature = f"{name}(\n    " + ',\n    '.join(parameters) + ')'
    return f"{'#'*level} {name} {{ #{name} }}\n\n```python\n{signature}\n```\n\n{doc}\n\n{table}\n\n[Source]({source})\n"

def module_page(name, module, notebook):
    "The page of a module, as Markdown."
    page = f'../{notebook.removesuffix(".ipynb")}.md'
    lines, constants = [f'# {name}\n\n{inspect.cleandoc(module.__doc__ or "")}\n\n`amodal_nb.{name}` is exported from [{notebook}]({page}).\n'], []
    for symbol in module.__all__:
        obj = getattr(module, symbol)
        if getattr(obj, '__module__', None) != module.__name__ or not (inspect.isfunction(obj) or inspect.isclass(obj)):
            value = repr(obj)
            if ' at 0x' not in value and '<' not in value: constants.append(f"| `{symbol}` | `{value[:120].replace('|', ' or ')}{'…' if len(value) > 120 else ''}` |")
            continue
        source = f'{page}#def-{symbol}'
        lines.append(described(symbol, obj, source))
        if inspect.isclass(obj): lines += [described(f'{symbol}.{k}', f, source, 3) for k, f in own_methods(obj)]
    if constants: lines.append('## Constants\n\n| name | value |\n|---|---|\n' + '\n'.join(constants) + '\n')
    return '\n'.join(lines)

def write_reference(docs):
    "Write a page for each module, one that lists them, and that of the command line; returns the navigation."
    (docs/'api').mkdir()
    rows, sections = ['| module | what is in it |', '|---|---|'], {}
    for name, module, notebook in modules():
        (docs/'api'/f'{name}.md').write_text(module_page(name, module, notebook), encoding='utf-8')
        rows.append(f"| [{name}]({name}.md) | {' '.join((module.__doc__ or '').split())} |")
        sections.setdefault(name.partition('.')[0], []).append({name: f'api/{name}.md'})
    start = 'Most people need [`fuse_pictures`](fusion.predict.md#fuse_pictures), [`fuse_scene`](fusion.predict.md#fuse_scene), ' \
            '[`WeightInspector`](app.inspector.md#WeightInspector) and [`refit`](fusion.refit.md#refit).'
    (docs/'api'/'index.md').write_text('# API reference\n\n' + start + '\n\n' + '\n'.join(rows) + '\n', encoding='utf-8')
    (docs/'cli.md').write_text(command_page(), encoding='utf-8')
    return [{'All modules': 'api/index.md'}, *({name: pages} for name, pages in sections.items())]

def command_page():
    "The command line's page: the help of each command, as a shell shows it."
    from amodal_nb.app.cli import app
    from typer.main import get_command
    from typer.testing import CliRunner
    def help_of(*words):
        done = CliRunner().invoke(app, [*words, '--help'], prog_name='amodal', env={'COLUMNS': '110', 'TERM': 'dumb', 'NO_COLOR': '1'})
        if done.exit_code: sys.exit(f'amodal {" ".join(words)} --help fails: {done.output}')
        return f'```text\n{done.output.strip()}\n```\n'
    commands = get_command(app).commands
    return '\n'.join(['# Command line\n', help_of(), *(f'## amodal {name}\n\n{help_of(name)}' for name in commands)])

# ---- the site

def gather(docs):
    "Write the pages to `docs`; returns the navigation."
    import nbformat
    from nbdev.serve import proc_nbs
    cache, sections = proc_nbs(n_workers=0, force=True), {}
    for file in sorted(p for p in cache.rglob('*') if p.is_file() and '.ipynb_checkpoints' not in p.parts):
        place = file.relative_to(cache)
        (docs/place).parent.mkdir(parents=True, exist_ok=True)
        if file.suffix != '.ipynb': shutil.copy(file, docs/place); continue
        nb = readable(markdown_outputs(nbformat.read(file, 4)), f'nbs/{place}')
        write_page(nb, (docs/place).with_suffix('.md'))
        if str(place) == 'index.ipynb': continue
        if is_run_by_readers(f'nbs/{place}'): write_notebook(nbformat.read(root/'nbs'/place, 4), docs/place)
        sections.setdefault(place.parent.name, []).append({title_of(nb, file): str(place.with_suffix('.md'))})
    for name in EXTRA:
        (docs/name).parent.mkdir(parents=True, exist_ok=True)
        text = (root/name).read_text(encoding='utf-8')
        (docs/name).write_text(relink(text, name) if name.endswith('.md') else text, encoding='utf-8')
    shutil.copy(root/'.ci'/'docs.css', docs)
    folders = [{s.replace('_', ' ').title(): sections[s]} for s in sorted(sections) if re.match(r'\d', s)]
    others = {next(iter(o.values())): o for o in sections['']}
    return [{'Home': 'index.md'}, {'Tutorials': sections['tutorials']}, {'Formats': sections['formats']}, {'Command line': 'cli.md'}, {'API reference': write_reference(docs)},
            {'Notebooks': [others['notebooks.md'], *folders]}, {'Experiments': sections['experiments']}, others['glossary.md'], {'Project': [{k: v} for k, v in PROJECT.items()]}]

class Links(HTMLParser):
    "A page's ids, the links that it has, and what it loads."
    def __init__(self):
        super().__init__()
        self.ids, self.links, self.loads = set(), [], []
    def handle_starttag(self, tag, attrs):
        a = dict(attrs)
        self.ids |= {a[k] for k in ('id', 'name') if a.get(k)}
        if tag == 'a' and a.get('href'): self.links.append(a['href'])
        self.loads += [a[k] for k in ('src', 'href') if a.get(k) and (tag in ('script', 'img', 'iframe', 'source') or tag == 'link' and a.get('rel') not in ('canonical', 'prev', 'next'))]

def too_large(site):
    "A line for each page that takes long to load, and for a site that does."
    sizes = {p: p.stat().st_size for p in site.rglob('*') if p.is_file()}
    lines = [f'{p.relative_to(site)}: {size} bytes, more than {MAX_PAGE}' for p, size in sizes.items() if p.suffix == '.html' and size > MAX_PAGE]
    if sum(sizes.values()) > MAX_SITE: lines.append(f'the site: {sum(sizes.values())} bytes, more than {MAX_SITE}')
    return lines

def check(site):
    "A line for each link of a page that leads nowhere, for all that it would load from elsewhere, and for what is too large."
    pages, wrong = {}, []
    for p in sorted(site.rglob('*.html')):
        pages[p] = Links()
        pages[p].feed(p.read_text(encoding='utf-8'))
    for p, page in pages.items():
        if p.name == '404.html': continue                                               # its links begin at the site's root, wherever that is
        for link in page.links + page.loads:
            parts = urlsplit(link)
            if parts.scheme in ('http', 'https') and link in page.loads: wrong.append(f'{p.relative_to(site)}: loads {link}')
            if parts.scheme or parts.netloc: continue
            target = (p.parent/unquote(parts.path)).resolve() if parts.path else p
            if target.is_dir(): target = target/'index.html'
            if not target.is_file(): wrong.append(f'{p.relative_to(site)}: links to {link}, which is not there')
            elif parts.fragment and target in pages and unquote(parts.fragment) not in pages[target].ids | {'__top'}: wrong.append(f'{p.relative_to(site)}: links to {link}, but there is no such heading')
    return sorted({*wrong, *too_large(site)})

def finish_page(text):
    "A page's HTML without scripts for mathematics and diagrams, which no notebook has; pictures load when they are scrolled to; edit links lead to the notebook."
    text = re.sub(r'<script src=""> *</script>|<script\b[^>]*>(?:(?!</script>).)*(?:mathjax|mermaid)(?:(?!</script>).)*</script>', '', text, flags=re.S | re.I)
    text = re.sub(r'<img (?![^>]*loading=)', '<img loading="lazy" ', text)
    text = text.replace('data-md-component="search" role="dialog"', 'data-md-component="search" role="dialog" aria-label="Search"')
    text = re.sub(r'<span class="(?:n|p|o|w|ow|kc|sa|fm|vm)">([^<]*)</span>|<span></span>', r'\1', text) # names and points have the colour of code as they are
    text = re.sub(r'(<span class="s[12i]">[^<]*)((?:</span><span class="s[12i]">[^<]*)+)', lambda m: m[1] + re.sub(r'</span><span class="s[12i]">', '', m[2]), text) # parts of a string have one
    parts = re.split(r'(<pre\b.*?</pre>)', text, flags=re.S)
    text = ''.join(p if i % 2 else re.sub(r'\s*\n\s*', '\n', p) for i, p in enumerate(parts))
    def edit_link(match):
        file = edited(match[3])
        return f'{match[1]}/{match[2]}/main/{file}"' if file else f'{match[1]}"'
    return re.sub(r'(href="https://[^"]+)/(edit|raw)/main/([^"]+\.md)"', edit_link, text)

def search_text(text):
    "What the search finds of a section: its prose, no code, no tables of parameters."
    text = re.sub(r'<pre\b.*?</pre>', ' ', text, flags=re.S)
    text = re.sub(r'<[^>]+>', ' ', text)
    return ' '.join(text.replace('¶', ' ').replace('Copied!', ' ').split())

def finish(site):
    "Finish pages and the search's index, and remove what no page loads."
    for p in site.rglob('*.html'): p.write_text(finish_page(p.read_text(encoding='utf-8')), encoding='utf-8')
    for p in (site/'assets').rglob('*.map'): p.unlink()
    shutil.rmtree(site/'assets'/'javascripts'/'lunr')                                # for languages other than English
    file = site/'search'/'search_index.json'
    index = json.loads(file.read_text(encoding='utf-8'))
    for entry in index['docs']: entry['text'], entry['title'] = search_text(entry['text']), search_text(entry['title'])
    file.write_text(json.dumps(index, ensure_ascii=False, separators=(',', ':')), encoding='utf-8')

def build(out):
    "Build the site in `out`, which is replaced."
    from mkdocs.commands.build import build
    from mkdocs.config import load_config
    import amodal_nb
    url = repository()
    links = {'repo_url': url, 'edit_uri': 'edit/main/'} if url else {}
    with tempfile.TemporaryDirectory() as docs:
        nav = gather(Path(docs))
        build(load_config(str(root/'.ci'/'mkdocs.yml'), site_name=f'amodal_nb {amodal_nb.__version__}', docs_dir=docs, site_dir=str(out), nav=nav, strict=True, **links))
    finish(out)

if __name__ == '__main__':
    import argparse
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('out', nargs='?', type=Path, default=root/'_docs', help='folder of the site, which is replaced (default: _docs of this repository)')
    out = parser.parse_args().out.resolve()
    os.chdir(root)
    logging.getLogger('mkdocs').addHandler(logging.StreamHandler())
    logging.getLogger('mkdocs').setLevel(logging.WARNING)                                # in its strict mode it gives up for a warning
    build(out)
    if wrong := check(out): sys.exit('\n'.join(wrong))
    print(f'{len(list(out.rglob("*.html")))} pages in {out}: every link within it leads somewhere, nothing is loaded from elsewhere')
