"What reaches a user: one version everywhere, a light import, and wheels and editable installs that hold their data."
import json, os, re, shutil, subprocess, sys, tarfile, zipfile
from configparser import ConfigParser
from importlib.metadata import entry_points, metadata, version
from pathlib import Path
import pytest
import amodal_nb
from amodal_nb.models.checkpoint import load_weights, SHIPPED_MODELS
try: import tomllib
except ImportError: import tomli as tomllib  # Python 3.10

SHIPPED = 'lpips/lpips_alex.safetensors', 'lpips/README.md', 'lpips/LICENSE.lpips.txt', 'lpips/LICENSE.torchvision.txt', *(f'models/{name}.{suffix}' for name in SHIPPED_MODELS for suffix in ('safetensors', 'md'))
HEAVY = 'torchvision', 'lpips', 'torchmetrics', 'skimage', 'scipy', 'matplotlib', 'tensorboard'
NOTEBOOKY = 'IPython', 'ipykernel', 'jupyter_core', 'jupyterlab', 'ipywidgets', 'nbdev'
WIDGETS = tuple(f'amodal_nb.app.{name}' for name in ('inspector', 'gallery', 'editor'))  # which need ipywidgets

def python(code, *args, interpreter=sys.executable, cwd=None, **env):
    "Run code in a fresh process; what it prints."
    done = subprocess.run([interpreter, '-c', code, *args], cwd=cwd, env=os.environ | env, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()

@pytest.fixture(scope='module')
def settings(root):
    "What settings.ini says."
    cfg = ConfigParser(delimiters=['='])
    cfg.read(root/'settings.ini', encoding='utf-8')
    return cfg['DEFAULT']

@pytest.fixture
def project(root, tmp_path):
    "A copy of what the package is built from: building must not leave anything in the tree."
    copy = tmp_path/'project'
    for name in 'amodal_nb', 'data': shutil.copytree(root/name, copy/name, ignore=shutil.ignore_patterns('__pycache__'))
    for name in ('settings.ini', 'setup.py', 'pyproject.toml', 'MANIFEST.in', 'README.md', 'CHANGELOG.md', 'CONTRIBUTING.md', 'SECURITY.md', 'LICENSE'):
        shutil.copy(root/name, copy)
    return copy

def test_version_and_metadata_agree(settings, root):
    assert settings['version'] == amodal_nb.__version__ == version(settings['lib_name'])
    installed = metadata(settings['lib_name'])
    assert installed['Name'] == settings['lib_name'] == amodal_nb.__name__
    assert installed['Requires-Python'] == f">={settings['min_python']}"
    assert installed['Summary'] == settings['description']
    extras = {k.removesuffix('_requirements'): v.split() for k, v in settings.items() if k.endswith('_requirements')}
    wanted = {*settings['requirements'].split(), *(f'{o}; extra == "{name}"' for name, group in extras.items() for o in group),
              *(f'{o}; extra == "dev"' for name, group in extras.items() if name != 'ray' for o in group)}
    assert {o.replace("'", '"') for o in installed.get_all('Requires-Dist')} == wanted
    commands = {f'{e.name}={e.value}' for e in entry_points(group='console_scripts') if e.dist and e.dist.name == settings['lib_name']}
    assert commands == set(settings['console_scripts'].split('\n'))
    assert f"## {settings['version']}" in (root/'CHANGELOG.md').read_text(encoding='utf-8')

def test_pyproject_holds_nothing_that_settings_ini_says(root, settings):
    pyproject = tomllib.loads((root/'pyproject.toml').read_text(encoding='utf-8'))
    assert set(pyproject) == {'build-system', 'tool'} and set(pyproject['tool']) == {'nbdev'}
    assert pyproject['tool']['nbdev']['lib_path'] == settings['lib_name']

def test_every_module_comes_from_a_notebook(root):
    code = [''.join(c['source']) for nb in (root/'nbs').rglob('*.ipynb') for c in json.loads(nb.read_text(encoding='utf-8'))['cells']]
    exported = {m[1].replace('.', '/') for source in code if (m := re.match(r'#\| *(?:default_exp|export) +([\w.]+)', source))}
    assert {p.relative_to(root/'amodal_nb').with_suffix('').as_posix() for p in (root/'amodal_nb').rglob('*.py') if not p.name.startswith('_')} == exported

def test_importing_the_package_imports_nothing_heavy():
    loaded = json.loads(python('import json, sys, amodal_nb; print(json.dumps(list(sys.modules)))'))
    assert not {'torch', 'numpy', *HEAVY, *NOTEBOOKY} & set(loaded)

def test_importing_the_modules_imports_no_notebook_and_nothing_heavy():
    code = """
import importlib, pkgutil, sys, amodal_nb
exempt, unwanted = (o.split() for o in sys.argv[1:])
for module in pkgutil.walk_packages(amodal_nb.__path__, 'amodal_nb.'):
    if module.name.startswith('amodal_nb._') or module.name in exempt: continue
    importlib.import_module(module.name)
    found = [o for o in unwanted if o in sys.modules]
    if found: sys.exit(f'{module.name} imports {found}')
"""
    python(code, ' '.join(WIDGETS), ' '.join([*HEAVY, *NOTEBOOKY]))

WHERE = 'from pathlib import Path; import amodal_nb.core.files as s; print(Path(s.__file__).resolve()); print(s.assets().resolve())'

def check_shipped(folder, data):
    "What `data/` holds is there, and in particular what the package cannot do without."
    for name in SHIPPED: assert (folder/name).is_file(), name
    for name in 'scenes', 'cutouts': assert any((folder/name).rglob('*.png')), name
    files = {p.relative_to(data).as_posix() for p in data.rglob('*') if p.is_file() and not p.name.endswith(('.py', '.pyc'))}
    assert files == {p.relative_to(folder).as_posix() for p in folder.rglob('*') if p.is_file() and not p.name.endswith(('.py', '.pyc'))}

@pytest.mark.parametrize('name', SHIPPED_MODELS)
def test_a_shipped_model_is_small_and_has_a_card(root, name):
    path = root/'data'/'models'/f'{name}.safetensors'
    assert path.stat().st_size <= 1e7
    model, info = load_weights(path)
    assert info['model'] == name
    card = path.with_suffix('.md').read_text(encoding='utf-8')
    for word in 'Data', 'Budget', 'seed', 'amodal scenes', 'amodal_nb.train', 'noisy', 'Limits', 'Licence': assert word in card, word
    assert f'{sum(p.numel() for p in model.parameters()):,} parameters' in card

def test_wheel_and_sdist_hold_the_data_and_work_elsewhere(project, tmp_path):
    subprocess.run([sys.executable, '-m', 'build', '--no-isolation', '--outdir', tmp_path/'dist', project], check=True, capture_output=True, text=True)
    (wheel,), (sdist,) = (tmp_path/'dist').glob('*.whl'), (tmp_path/'dist').glob('*.tar.gz')
    with tarfile.open(sdist) as f: names = {n.partition('/')[2] for n in f.getnames()}
    assert {'settings.ini', 'setup.py', 'pyproject.toml', 'README.md', 'LICENSE', *(f'data/{n}' for n in SHIPPED)} <= names
    with zipfile.ZipFile(wheel) as f: f.extractall(tmp_path/'installed')
    elsewhere = tmp_path/'elsewhere'
    elsewhere.mkdir()
    file, assets = map(Path, python(WHERE, cwd=elsewhere, PYTHONPATH=str(tmp_path/'installed')).splitlines())
    assert file.is_relative_to((tmp_path/'installed').resolve()) and assets == (tmp_path/'installed'/'amodal_nb'/'_data').resolve()
    check_shipped(assets, project/'data')
    run_demo_of_the_wheel(elsewhere, tmp_path/'installed')

DEMO = """
from amodal_nb.app import cli, demo
find_scenes = demo.find_scenes
demo.find_scenes = lambda folder: find_scenes(folder)[:2]
cli.main(['demo', '--out', 'out'])
"""

def run_demo_of_the_wheel(cwd, installed):
    "The wheel runs `amodal demo` from any folder; here it draws two scenes of eight, as the demo's notebook draws all."
    said = python(DEMO, cwd=cwd, PYTHONPATH=str(installed))
    table = (cwd/'out'/'table.md').read_text(encoding='utf-8')
    assert '| room ' in table and '| sample1 ' in table and table.strip() in said
    assert (cwd/'out'/'sheet.png').stat().st_size > 10_000
    assert len(list((cwd/'out'/'fused').glob('*/*_fused.png'))) == len(list((installed/'amodal_nb'/'_data'/'scenes').iterdir()))

def test_editable_install_maps_the_package_and_finds_data(project, tmp_path):
    subprocess.run([sys.executable, '-m', 'venv', '--without-pip', tmp_path/'venv'], check=True)
    interpreter = tmp_path/'venv'/'bin'/'python'
    packages = python('import sysconfig; print(sysconfig.get_path("purelib"))', interpreter=interpreter)
    ours = [p for p in sys.path if Path(p).name == 'site-packages']  # torch and setuptools, without installing them again
    (Path(packages)/'ours.pth').write_text('\n'.join(ours))
    install = [sys.executable, '-m', 'pip', '--python', interpreter, 'install', '--no-deps', '--no-build-isolation', '-e', project]
    done = subprocess.run(install, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    file, assets = map(Path, python(WHERE, interpreter=interpreter, cwd=tmp_path, PYTHONPATH='').splitlines())
    assert file == (project/'amodal_nb'/'core'/'files.py').resolve() and assets == (project/'data').resolve()
    assert (tmp_path/'venv'/'bin'/'amodal').is_file()
    check_shipped(assets, project/'data')
