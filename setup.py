"Everything that pip needs to know, read from settings.ini."
from configparser import ConfigParser
from pathlib import Path
from setuptools import find_packages, setup

cfg = ConfigParser(delimiters=['='])
cfg.read(Path(__file__).parent/'settings.ini', encoding='utf-8')
cfg = cfg['DEFAULT']
extras = {k.removesuffix('_requirements'): v.split() for k, v in cfg.items() if k.endswith('_requirements')}
extras['dev'] = [o for name, group in extras.items() if name != 'ray' for o in group]   # the tests try everything else: Ray is large, and slow to start

setup(
    name=cfg['lib_name'],
    version=cfg['version'],
    description=cfg['description'],
    long_description=(Path(__file__).parent/'README.md').read_text(encoding='utf-8'),
    long_description_content_type='text/markdown',
    author=cfg['author'],
    license=cfg['license'],
    keywords=[o.strip() for o in cfg['keywords'].split(',')],
    python_requires=f">={cfg['min_python']}",
    packages=[*find_packages(include=['amodal_nb', 'amodal_nb.*']), 'amodal_nb._data'],
    package_dir={'amodal_nb._data': 'data'},   # data/ stays readable at the top level and still travels in the wheel
    package_data={'amodal_nb._data': ['**/*'], 'amodal_nb.app': ['static/**/*']},
    install_requires=cfg['requirements'].split(),
    extras_require=extras,
    entry_points={'console_scripts': cfg['console_scripts'].split('\n'),
                  'nbdev': [f"{cfg['lib_name']}={cfg['lib_name']}._modidx:d"]},
)
