// Rules for the front-end of inspector, gallery and editor: `eslint -c .ci/eslint.config.mjs amodal_nb/app/static`, after
// `npm install --global eslint @eslint/css`. Without the plugin the style sheets are not linted.
import {realpathSync} from 'node:fs';
import {createRequire} from 'node:module';

// The plugin is installed beside ESLint, not beside this file.
const besideEslint = createRequire(realpathSync(process.argv[1]));
const loadPlugin = name => {
  try {
    return besideEslint(name).default;
  } catch (error) {
    if (error.code === 'MODULE_NOT_FOUND') return null;
    throw error;
  }
};
const css = loadPlugin('@eslint/css');

const browser = ['document', 'globalThis', 'requestAnimationFrame', 'setTimeout', 'clearTimeout', 'ResizeObserver', 'URL', 'Blob'];

const styles = plugin => ({
  files: ['**/*.css'],
  language: 'css/css',
  plugins: {css: plugin},
  rules: {
    ...plugin.configs.recommended.rules,
    'css/no-important': 'off', // [hidden] must win over every display
    'css/no-invalid-properties': ['error', {allowUnknownVariables: true}], // the gallery uses the inspector's colours
    'css/use-baseline': ['error', {allowProperties: ['accent-color', 'scrollbar-width', 'user-select']}], // only looks
  },
});

export default [
  {
    files: ['**/*.js'],
    languageOptions: {ecmaVersion: 2024, sourceType: 'module', globals: Object.fromEntries(browser.map(k => [k, 'readonly']))},
    rules: {
      complexity: ['error', 12],
      eqeqeq: 'error',
      'max-len': ['error', {code: 120}],
      'max-lines': ['error', 300],
      'no-const-assign': 'error',
      'no-dupe-class-members': 'error',
      'no-dupe-keys': 'error',
      'no-redeclare': 'error',
      'no-shadow': 'error',
      'no-undef': 'error',
      'no-unreachable': 'error',
      'no-unused-vars': 'error',
      'no-use-before-define': ['error', {functions: false}],
      'no-var': 'error',
      'one-var': ['error', 'never'],
      'prefer-const': 'error',
    },
  },
  ...(css ? [styles(css)] : []),
];
