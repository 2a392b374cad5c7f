"The front-end of inspector, gallery and editor: its syntax, its style and its style sheets, and its compositing, which must equal that of `amodal_nb.core.compositing`."
import json, re, shutil, subprocess
import pytest, torch
from amodal_nb.app.inspector import join_modules, static_folder
from amodal_nb.core.compositing import composite_weights, front_to_back, transmittance
from amodal_nb.fusion.predict import consistent_pairs, corrected_order
from pixels import random_pixels

FRONTEND = static_folder()
STYLE_SHEET = 'amodal_nb/app/static/inspector.css' # ESLint lints nothing outside of the tree
MODULES = sorted(p.name for p in FRONTEND.glob('*.js'))
WIDGETS = 'inspector', 'compare', 'gallery', 'editor'

@pytest.fixture(scope='module')
def node():
    "Where Node is; a test that needs it is skipped without."
    path = shutil.which('node')
    if not path: pytest.skip('needs Node.js: apt-get install nodejs')
    return path

def test_every_module_belongs_to_a_widget():
    "By the comment in its first line."
    joined = ''.join(join_modules(FRONTEND/f'{name}.js') for name in WIDGETS)
    for name in MODULES: assert (FRONTEND/name).read_text(encoding='utf-8').split('\n')[0] in joined, name

@pytest.mark.parametrize('name', [*MODULES, *WIDGETS])
def test_modules_have_no_syntax_error(node, tmp_path, name):
    "Each file by itself, and what the widgets get: the joined files."
    path = FRONTEND/name
    text = path.read_text(encoding='utf-8') if path.suffix else join_modules(path.with_suffix('.js'))
    (tmp_path/'module.mjs').write_text(text, encoding='utf-8')
    done = subprocess.run([node, '--check', tmp_path/'module.mjs'], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr

@pytest.fixture
def eslint(root):
    "Return a function that runs ESLint with the project's rules; a test that needs it is skipped without."
    path = shutil.which('eslint')
    if not path: pytest.skip('needs ESLint: npm install --global eslint @eslint/css')
    config = root/'.ci'/'eslint.config.mjs'
    return lambda *args, **options: subprocess.run([path, '-c', config, *args], cwd=root, capture_output=True, text=True, **options)

def test_modules_and_style_sheets_pass_eslint(eslint):
    done = eslint('amodal_nb/app/static')
    assert done.returncode == 0, done.stdout + done.stderr

def test_eslint_reads_the_style_sheets(eslint):
    if 'css/css' not in eslint('--print-config', STYLE_SHEET).stdout: pytest.skip('needs @eslint/css beside ESLint')
    done = eslint('--stdin', '--stdin-filename', STYLE_SHEET, input='.a { colour: red; }')
    assert done.returncode == 1 and 'css/no-invalid-properties' in done.stdout, done.stdout + done.stderr

EVALUATE = """
import {readFileSync} from 'node:fs';
import {compositeWeights, consistentPairs, correctedOrder, frontToBack} from './compositing.mjs';

const scenes = JSON.parse(readFileSync(process.argv[2], 'utf8'));
const answers = scenes.map(({n, pairs, stack, corrections, alphas}) => {
  const order = correctedOrder(n, pairs, stack, corrections);
  const sequence = frontToBack([...Array(n).keys()], order);
  return {order: order.map(row => Array.from(row)), sequence, weights: compositeWeights(sequence.map(k => alphas[k])),
          consistent: consistentPairs(pairs, stack)};
});
console.log(JSON.stringify(answers));
"""

def test_compositing_equals_that_of_python(node, tmp_path):
    "Order, sequence, weights and transmittance of 200 random pixels, cycles among them."
    scenes = random_pixels()
    (tmp_path/'scenes.json').write_text(json.dumps(scenes))
    for name in 'elements', 'compositing': # as .mjs, which Node takes for modules
        text = (FRONTEND/f'{name}.js').read_text(encoding='utf-8')
        (tmp_path/f'{name}.mjs').write_text(re.sub(r"'(\./\w+)\.js'", r"'\1.mjs'", text), encoding='utf-8')
    (tmp_path/'evaluate.mjs').write_text(EVALUATE)
    done = subprocess.run([node, tmp_path/'evaluate.mjs', tmp_path/'scenes.json'], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    for scene, answer in zip(scenes, json.loads(done.stdout), strict=True):
        order = corrected_order(scene['pairs'], scene['stack'], scene['corrections'])
        torch.testing.assert_close(torch.tensor(answer['order'], dtype=torch.float32), order, rtol=1e-3, atol=1e-5) # PyTorch rounds 1 - 1e-6 to float32
        sequence = front_to_back(order[None], torch.ones(1, scene['n'], dtype=torch.bool))
        assert answer['sequence'] == sequence[0].tolist()
        assert answer['consistent'] == consistent_pairs(scene['pairs'], scene['stack'])
        alphas = torch.tensor(scene['alphas'])
        weights = composite_weights(alphas[None, :, None, None, None], sequence)[0, :, 0, 0]
        shown = torch.tensor(answer['weights'], dtype=torch.float32)  # front first, then the background
        torch.testing.assert_close(shown[:-1], weights[sequence[0]], rtol=0, atol=1e-6)
        torch.testing.assert_close(shown[-1], weights[-1], rtol=0, atol=1e-6)
        through = transmittance(alphas, sequence[0].tolist())
        torch.testing.assert_close(shown[:-1], (alphas*through)[sequence[0]], rtol=0, atol=1e-6)
