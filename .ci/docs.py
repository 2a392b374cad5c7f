"""Build the documentation site from the notebooks: python .ci/docs.py [OUT]. Fails on a link that leads nowhere, and on anything loaded from elsewhere."""
import logging, os, posixpath, re, shutil, sys, tempfile
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

root = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(root/'.ci'))
from readme import markdown_outputs # noqa: E402

HOME = 'nbs/index.ipynb'                                                              # becomes Markdown, as it does for README.md
EXTRA = ['CONTRIBUTING.md', 'CHANGELOG.md', 'LICENSE', 'data/README.md', 'data/models/order.md', 'data/models/prior.md', 'data/models/reference.md']   # what notebooks link to, beside notebooks
FIRST, LAST = ['', 'tutorials', 'formats'], ['experiments'] # sections before and behind the numbered folders

def heading(anchor):
    "The id that a notebook's page has for a heading, however JupyterLab or GitHub write it."
    from mkdocs_jupyter.utils import slugify
    return slugify(unquote(anchor))

def relink(text, source):
    "Markdown with its links as the site has them; `source` is where it lies in the repository. A notebook's page is its name with .html."
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
        if source.endswith('.ipynb') and source != HOME: file = re.sub(r'\.(ipynb|md)$', '.html', file) # mkdocs sees links in Markdown only
        return before + file + mark + anchor + after
    parts = re.split(r'(^```.*?^```$|`[^`\n]*`)', text, flags=re.S | re.M)           # code is not text
    return ''.join(p if i % 2 else re.sub(r'((?:src|href)=")([^"]+)(")', page, re.sub(r'(\]\()([^)\s]+)(\))', page, p)) for i, p in enumerate(parts))

def readable(nb, source):
    "A processed notebook as a page: no directives, no widget state, links of the site, and one to the notebook itself."
    nb.metadata.pop('widgets', None)
    for c in nb.cells:
        if c.cell_type == 'code': c.source = re.sub(r'\A(#\|.*\n?)+', '', c.source)
        if c.cell_type == 'markdown': # the table of contents would lose what is set as code
            c.source = re.sub(r'^#+ .*$', lambda m: m[0].replace('`', ''), relink(c.source, source), flags=re.M)
    nb.cells = [c for c in nb.cells if c.source.strip()]
    if source != HOME: nb.cells[0].source += f'\n\n[Download this notebook]({posixpath.basename(source)})'
    return nb

def title_of(nb, file):
    "A page's name in the navigation: what its first heading says, after its number."
    heading = re.search(r'^# (.+)$', nb.cells[0].source, re.M)
    if not heading: sys.exit(f'{file}: the first cell has no heading: begin it with "# Title"')
    number = re.match(r'\d+(?=_)', file.name)
    return f'{int(number[0])} {heading[1]}' if number else heading[1]

def gather(docs):
    "Write the pages to `docs`; returns the navigation."
    import nbformat
    from nbconvert import MarkdownExporter
    from nbdev.serve import proc_nbs
    cache, sections = proc_nbs(n_workers=0, force=True), {}
    for file in sorted(p for p in cache.rglob('*') if p.is_file() and '.ipynb_checkpoints' not in p.parts):
        place = file.relative_to(cache)
        (docs/place).parent.mkdir(parents=True, exist_ok=True)
        if file.suffix != '.ipynb': shutil.copy(file, docs/place); continue
        nb = nbformat.read(file, 4)
        nb = readable(markdown_outputs(nb) if f'nbs/{place}' == HOME else nb, f'nbs/{place}')
        if f'nbs/{place}' == HOME:
            nb.metadata.language_info = {'name': 'python'}                             # of its code blocks
            (docs/'index.md').write_text(MarkdownExporter().from_notebook_node(nb)[0], encoding='utf-8')
            continue
        nbformat.write(nb, docs/place)
        sections.setdefault(place.parent.name, []).append({title_of(nb, file): str(place)})
    for name in EXTRA:
        (docs/name).parent.mkdir(parents=True, exist_ok=True)
        (docs/name).write_text(relink((root/name).read_text(encoding='utf-8'), name) if name.endswith('.md') else (root/name).read_text(encoding='utf-8'), encoding='utf-8')
    shutil.copy(root/'.ci'/'docs.css', docs)
    names = [s for s in FIRST if s in sections] + sorted(sections.keys() - {*FIRST, *LAST}) + [s for s in LAST if s in sections]
    return [{'Home': 'index.md'}] + [{s.replace('_', ' ').title() or 'Glossary': sections[s] if s else next(iter(sections[s][0].values()))} for s in names] + [
        {'Project': [{'Contributing': 'CONTRIBUTING.md'}, {'Changes': 'CHANGELOG.md'}, {'The order model': 'data/models/order.md'}, {'The reference model': 'data/models/reference.md'}, {'The prior of natural pairs': 'data/models/prior.md'}, {'Shipped data': 'data/README.md'}]}]

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

def check(site):
    "A line for each link of a page that leads nowhere, and for all that it would load from elsewhere."
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
    return sorted(set(wrong))

def build(out):
    "Build the site in `out`, which is replaced."
    from mkdocs.commands.build import build
    from mkdocs.config import load_config
    with tempfile.TemporaryDirectory() as docs:
        nav = gather(Path(docs))
        build(load_config(str(root/'.ci'/'mkdocs.yml'), docs_dir=docs, site_dir=str(out), nav=nav, strict=True))
    for p in out.rglob('*.html'):                                                       # mathematics and diagrams, which no notebook has
        text = p.read_text(encoding='utf-8')
        p.write_text(re.sub(r'<script src=""> *</script>|<script\b[^>]*>(?:(?!</script>).)*(?:mathjax|mermaid)(?:(?!</script>).)*</script>', '', text, flags=re.S | re.I), encoding='utf-8')

if __name__ == '__main__':
    os.chdir(root)
    logging.getLogger('mkdocs').addHandler(logging.StreamHandler())
    logging.getLogger('mkdocs').setLevel(logging.WARNING)                                # in its strict mode it gives up for a warning
    out = Path(sys.argv[1] if len(sys.argv) > 1 else '_docs').resolve()
    build(out)
    if wrong := check(out): sys.exit('\n'.join(wrong))
    print(f'{len(list(out.rglob("*.html")))} pages in {out}: every link within it leads somewhere, nothing is loaded from elsewhere')
