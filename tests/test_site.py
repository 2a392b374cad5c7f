"The documentation site: its checks find what they are there for. `.ci/run` builds the whole of it."
import importlib.util, json
import pytest

@pytest.fixture(scope='module')
def docs(root):
    spec = importlib.util.spec_from_file_location('docs', root/'.ci'/'docs.py')
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module

@pytest.mark.parametrize('source, link, becomes', [
    ('nbs/5_fusion/01_fuse.ipynb', '../4_models/07_order.ipynb', '../4_models/07_order.html'),
    ('nbs/5_fusion/01_fuse.ipynb', '../experiments/order_fusion.ipynb#The-table', '../experiments/order_fusion.html#the-table'),
    ('nbs/experiments/order_fusion.ipynb', '../4_models/07_order.ipynb', '../4_models/07_order.html'),
    ('nbs/experiments/order_fusion.ipynb', '../../CONTRIBUTING.md', '../CONTRIBUTING.html'),
    ('nbs/index.ipynb', '../data/models/order.md', 'data/models/order.md'),
    ('nbs/index.ipynb', '5_fusion/01_fuse.ipynb', '5_fusion/01_fuse.ipynb'),
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
    nb = nbformat.v4.new_notebook(metadata={'widgets': {}}, cells=[nbformat.v4.new_markdown_cell('# T'), nbformat.v4.new_code_cell('#| default_exp: x'), nbformat.v4.new_code_cell('#| export: true\n#| claim\nx = 1 #| not one')])
    page = docs.readable(nb, 'nbs/5_fusion/01_fuse.ipynb')
    assert [c.source for c in page.cells[1:]] == ['x = 1 #| not one'] and 'widgets' not in page.metadata
    assert page.cells[0].source.endswith('(01_fuse.ipynb)')

def test_what_leads_nowhere_or_comes_from_elsewhere_is_found(docs, tmp_path):
    (tmp_path/'a.html').write_text('<h2 id="here">x</h2><a href="b.html">b</a><a href="b.html#there">b</a><a href="#here">a</a><a href="https://example.org">e</a><a href="mailto:a@b">m</a>')
    (tmp_path/'b.html').write_text('<h2 id="there">x</h2><a href="a.html#there">a</a><img src="c.png"><script src="https://example.org/x.js"></script><link rel="stylesheet" href="https://example.org/x.css">')
    assert [w.split(': ', 1)[1] for w in docs.check(tmp_path)] == ['links to a.html#there, but there is no such heading', 'links to c.png, which is not there',
                                                                 'loads https://example.org/x.css', 'loads https://example.org/x.js']
    (tmp_path/'b.html').write_text('<h2 id="there">x</h2>')
    assert docs.check(tmp_path) == []

def test_the_devcontainer_is_json_and_uses_the_hooks(root):
    settings = json.loads((root/'.devcontainer'/'devcontainer.json').read_text())
    assert 'nbdev-install-hooks' in settings['postCreateCommand']
