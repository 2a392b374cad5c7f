"The documentation site: its checks find what they are there for. `.ci/run` builds the whole of it."
import importlib.util, json, subprocess, sys
from pathlib import Path
import pytest
from browser import browser, page_of, violations

@pytest.fixture(scope='module')
def docs(root):
    spec = importlib.util.spec_from_file_location('docs', root/'.ci'/'docs.py')
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module

@pytest.mark.parametrize('source, link, becomes', [
    ('nbs/5_fusion/01_fuse.ipynb', '../4_models/07_order.ipynb', '../4_models/07_order.md'),
    ('nbs/5_fusion/01_fuse.ipynb', '../experiments/order_fusion.ipynb#The-table', '../experiments/order_fusion.md#the-table'),
    ('nbs/experiments/order_fusion.ipynb', '../4_models/07_order.ipynb', '../4_models/07_order.md'),
    ('nbs/experiments/order_fusion.ipynb', '../../CONTRIBUTING.md', '../CONTRIBUTING.md'),
    ('nbs/index.ipynb', '../data/models/order.md', 'data/models/order.md'),
    ('nbs/index.ipynb', '5_fusion/01_fuse.ipynb', '5_fusion/01_fuse.md'),
    ('data/README.md', 'models/order.md', 'models/order.md'),
    ('nbs/5_fusion/01_fuse.ipynb', 'https://arxiv.org/abs/2004.02788', 'https://arxiv.org/abs/2004.02788'),
    ('nbs/5_fusion/01_fuse.ipynb', '#the-background-slot', '#the-background-slot'),
    ('nbs/5_fusion/01_fuse.ipynb', '#The-background-slot', '#the-background-slot'),
    ('CONTRIBUTING.md', '#tests', '#tests')])
def test_links_become_those_of_the_site(docs, source, link, becomes):
    assert docs.relink(f'See [it]({link}).', source) == f'See [it]({becomes}).'

@pytest.mark.parametrize('link, line', [('nowhere.ipynb', 'nowhere.ipynb'), ('../../setup.py', 'setup.py'), ('../../../outside.md', 'outside.md')])
def test_a_link_to_nothing_stops_the_build(docs, link, line):
    with pytest.raises(SystemExit, match=line): docs.relink(f'See [it]({link}).', 'nbs/5_fusion/01_fuse.ipynb')

def test_code_is_not_a_link(docs):
    for text in ('`f[0](nowhere)`', '```\nx[1](nowhere)\n```'): assert docs.relink(text, 'nbs/5_fusion/01_fuse.ipynb') == text

def test_pages_have_no_directives_and_no_widgets(docs):
    import nbformat # here, as it takes as long as torch, and every worker imports every file of tests
    cells = [nbformat.v4.new_markdown_cell('# T\ntext\n- item'), nbformat.v4.new_code_cell('#| default_exp: x'),
             nbformat.v4.new_code_cell('#| export: true\n#| claim\ndef f(): pass #| not one\n_x = 1')]
    page = docs.readable(nbformat.v4.new_notebook(metadata={'widgets': {}}, cells=cells), 'nbs/5_fusion/01_fuse.ipynb')
    assert [c.source for c in page.cells] == ['# T\ntext\n\n- item', '<a id="def-f"></a>', 'def f(): pass #| not one\n_x = 1'] and 'widgets' not in page.metadata
    page = docs.readable(nbformat.v4.new_notebook(cells=cells[:1]), 'nbs/experiments/scaling.ipynb')
    assert page.cells[0].source.endswith('(scaling.ipynb)')

def test_tutorials_show_no_tests(docs):
    source = 'import os\nfrom fastcore.test import *\nfrom amodal_nb.fusion.predict import fuse_pictures\n\nx = 1 # shown\nassert x\ntest_eq(x,\n        1)\nx'
    assert docs.without_tests(source) == 'from amodal_nb.fusion.predict import fuse_pictures\n\nx = 1 # shown\nx'
    assert docs.without_tests('%%bash\nls') == '%%bash\nls'

def test_an_entry_of_the_reference(docs):
    from amodal_nb.fusion.predict import fuse_pictures
    entry = docs.described('fuse_pictures', fuse_pictures, '../5_fusion/15_predict.md#def-fuse_pictures')
    assert '{ #fuse_pictures }' in entry and "model='order'" in entry and '| depth_direction |' in entry and '\n| **Parameter** | **Type** |' in entry and 'Source](../5_fusion' in entry
    assert fuse_pictures.__doc__.splitlines()[0] in entry

def test_pages_are_finished(docs):
    html = '<p>\n  a <img src="a.png"></p> <pre><span class="n">x</span>\n  <span class="k">if</span></pre>'
    assert docs.finish_page(html) == '<p>\na <img loading="lazy" src="a.png"></p> <pre>x\n  <span class="k">if</span></pre>'
    assert 'role="dialog" aria-label="Search"' in docs.finish_page('<div class="md-search" data-md-component="search" role="dialog">')
    link = '<a href="https://example.org/amodal_nb/edit/main/{}"></a>'
    assert docs.finish_page(link.format('5_fusion/01_fuse.md')) == link.format('nbs/5_fusion/01_fuse.ipynb')
    assert docs.finish_page(link.format('CONTRIBUTING.md')) == link.format('CONTRIBUTING.md')

def test_the_search_finds_prose(docs):
    assert docs.search_text('<h2>Fuse ¶</h2><p>All <code>weights</code></p><pre><code>x = 1</code></pre>Copied!') == 'Fuse All weights'

TOKENS = 'c1 k kd n nc nf nb s s2 mi mf o ow p bp fm kc si sa'.split() # the classes of Python's tokens, as Pygments names them
PAGE = """<!doctype html><html lang="en"><title>page</title><style>{styles}</style>
<body data-md-color-scheme="{scheme}" data-md-color-primary="indigo"><main class="md-typeset"><h1>Title</h1><blockquote><p>What it is for.</p></blockquote>
<p>A <a href="#x">link</a> and <code>code</code>. <a href="#y"><code>symbol</code></a></p><div class="highlight"><pre><code>{tokens}</code></pre></div>
<table><tr><th>method</th><td><a href="#z">.034</a></td></tr></table></main></body></html>"""

@pytest.mark.parametrize('scheme', ['default', 'slate'])
def test_text_of_the_site_has_contrast(root, scheme):
    "Of prose, links, tables and every kind of token of code, light and dark."
    import material
    sheets = Path(material.__file__).parent/'templates'/'assets'/'stylesheets'
    files = [*sheets.glob('main.*.css'), *sheets.glob('palette.*.css'), root/'.ci'/'docs.css']
    html = PAGE.format(styles='\n'.join(f.read_text() for f in files), scheme=scheme, tokens=' '.join(f'<span class="{t}">{t}</span>' for t in TOKENS))
    with browser() as b, page_of(b, 1280, 900) as page:
        page.set_content(html)
        assert [found for found in violations(page, 'main') if found[0] == 'color-contrast'] == []

@pytest.mark.parametrize('origin, url', [('git@example.org:us/amodal_nb.git', 'https://example.org/us/amodal_nb'), ('https://example.org/us/amodal_nb.git', 'https://example.org/us/amodal_nb'),
                                         ('https://user:word@example.org/us/amodal_nb', None), ('/home/us/amodal_nb', None), ('', None)])
def test_the_repository_is_the_clones_origin(docs, monkeypatch, origin, url):
    monkeypatch.delenv('GITHUB_REPOSITORY', raising=False)
    monkeypatch.setattr(docs.subprocess, 'run', lambda *args, **kwargs: docs.subprocess.CompletedProcess(args, 0, stdout=origin + '\n'))
    assert docs.repository() == url
    monkeypatch.setenv('GITHUB_REPOSITORY', 'us/it')
    monkeypatch.setenv('GITHUB_SERVER_URL', 'https://example.org')
    assert docs.repository() == 'https://example.org/us/it'

def test_what_leads_nowhere_or_comes_from_elsewhere_is_found(docs, tmp_path):
    (tmp_path/'a.html').write_text('<h2 id="here">x</h2><a href="b.html">b</a><a href="b.html#there">b</a><a href="#here">a</a><a href="https://example.org">e</a><a href="mailto:a@b">m</a>')
    (tmp_path/'b.html').write_text('<h2 id="there">x</h2><a href="a.html#there">a</a><img src="c.png"><script src="https://example.org/x.js"></script><link rel="stylesheet" href="https://example.org/x.css">')
    assert [w.split(': ', 1)[1] for w in docs.check(tmp_path)] == ['links to a.html#there, but there is no such heading', 'links to c.png, which is not there',
                                                                 'loads https://example.org/x.css', 'loads https://example.org/x.js']
    (tmp_path/'b.html').write_text('<h2 id="there">x</h2>')
    assert docs.check(tmp_path) == []
    (tmp_path/'b.html').write_text('<h2 id="there">x</h2>' + ' '*docs.MAX_PAGE)
    assert [w.split(': ', 1)[0] for w in docs.check(tmp_path)] == ['b.html']
    (tmp_path/'c.bin').write_bytes(bytes(docs.MAX_SITE))
    assert [w.split(': ', 1)[0] for w in docs.check(tmp_path)] == ['b.html', 'the site']

def test_the_devcontainer_is_json_and_uses_the_hooks(root):
    settings = json.loads((root/'.devcontainer'/'devcontainer.json').read_text())
    assert 'nbdev-install-hooks' in settings['postCreateCommand']

def test_links_of_notebooks_lead_somewhere(docs, root):
    for file in sorted((root/'nbs').rglob('*.ipynb')):
        if '.ipynb_checkpoints' in file.parts: continue
        for cell in json.loads(file.read_text(encoding='utf-8'))['cells']:
            if cell['cell_type'] == 'markdown': docs.relink(''.join(cell['source']), file.relative_to(root).as_posix())

def test_pictures_of_pages_are_small(docs):
    import io
    from PIL import Image
    noise = io.BytesIO()
    Image.effect_noise((64, 64), 50).save(noise, 'PNG')
    name, data = docs.small_picture('a_files/a_1_0.png', noise.getvalue())
    assert name == 'a_files/a_1_0.webp' and len(data) < len(noise.getvalue()) and docs.small_picture('a.jpg', b'x') == ('a.jpg', b'x')

def test_help_and_a_mistyped_option_build_nothing(root, tmp_path):
    for option, code in ('--help', 0), ('--out', 2):
        done = subprocess.run([sys.executable, root/'.ci'/'docs.py', option], cwd=tmp_path, capture_output=True, text=True)
        assert (done.returncode, list(tmp_path.iterdir())) == (code, []) and 'usage: docs.py [-h] [out]' in done.stdout + done.stderr
