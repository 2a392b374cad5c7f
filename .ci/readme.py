"""Write README.md from nbs/index.ipynb. With --check, write nothing and fail if README.md is not what would be written."""
import logging, os, posixpath, re, sys
from pathlib import Path

root = Path(__file__).resolve().parents[1]
NOTEBOOK = 'nbs/index.ipynb'

def relink(match):
    "A link of the notebook, as seen from the top level, where README.md lies; it must lead somewhere."
    before, link, after = match.groups()
    if re.match(r'[a-z]+:|#', link): return match[0]
    file, mark, anchor = link.partition('#')
    file = posixpath.normpath(posixpath.join('nbs', file))
    if not (root/file).exists(): sys.exit(f'{NOTEBOOK}: links to {link}, but there is no {file}: correct the link or add the file')
    return before + file + mark + anchor + after

def markdown_outputs(nb):
    "Replace code cells whose output is Markdown, e.g. the table of notebooks, by that output."
    for c in nb.cells:
        outputs = [o.get('data', {}) for o in c.get('outputs', [])]
        if outputs and all('text/markdown' in data for data in outputs):
            c.cell_type, c.source = 'markdown', '\n\n'.join(data['text/markdown'] for data in outputs)
            for k in 'outputs', 'execution_count': c.pop(k, None)
    return nb

def readme():
    "Return what README.md shall hold."
    os.chdir(root)
    import nbformat
    from nbconvert import MarkdownExporter
    from nbdev.serve import proc_nbs
    cache = proc_nbs(n_workers=0, force=True, file_glob='index.ipynb')
    text, resources = MarkdownExporter().from_notebook_node(markdown_outputs(nbformat.read(cache/'index.ipynb', 4)))
    if resources['outputs']:
        sys.exit(f'{NOTEBOOK}: a cell has a picture as its output: save it in nbs/images/ and show it with ![what it is](images/name.png)')
    text = re.sub(r'(\]\()([^)\s]+)(\))', relink, text)
    text = re.sub(r'((?:src|href)=")([^"]+)(")', relink, text)
    text = re.sub(r'\n{3,}', '\n\n', text).strip() + '\n'
    return f'<!-- Made from {NOTEBOOK} by .ci/readme.py: edit the notebook. -->\n\n{text}'

if __name__ == '__main__':
    logging.disable(logging.WARNING)
    new, file = readme(), root/'README.md'
    if '--check' not in sys.argv: file.write_text(new, encoding='utf-8')
    elif not file.exists() or file.read_text(encoding='utf-8') != new:
        sys.exit(f'README.md is not what {NOTEBOOK} gives: run python .ci/readme.py')
