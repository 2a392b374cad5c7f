// Rules for the front-end of the inspector and the gallery: `npx eslint -c .ci/eslint.config.mjs data/inspector`.
const browser = ['document', 'globalThis', 'requestAnimationFrame', 'setTimeout', 'clearTimeout', 'ResizeObserver', 'URL', 'Blob'];

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
];
