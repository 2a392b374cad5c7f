// The views of a fusion, their keys and their descriptions.

export const VIEWS = [
  ['result', 'Result'],
  ['target', 'Target'],
  ['partial', 'Partial'],
  ['completion', 'Completion'],
  ['weight', 'Weight'],
  ['top', 'Topmost'],
  ['entropy', 'Entropy'],
  ['error', 'Error'],
  ['doubt', 'Doubt'],
  ['original', 'As given'],
  ['difference', 'Difference'],
];

export const KEYS = '123456789gd';

export const OF_SLOT = ['completion', 'original', 'weight'];

export const ABOUT = {
  result: 'What came out: fused inside the mask, untouched outside',
  target: 'The true picture',
  partial: 'What was given, the mask black',
  completion: 'The chosen completion alone, harmonised if that was done',
  original: 'The chosen completion as it was given',
  weight: 'The weight of the chosen slot at each pixel',
  top: 'The slot with the largest weight at each pixel',
  entropy: 'How evenly the weights are shared, in bits',
  error: 'Distance of result and target, mean of the channels',
  doubt: 'Chance that the completion in front is not in front of one that it hides',
  difference: 'Distance of this result and that of the other model, mean of the channels',
};

export const OVERLAYS = ['top', 'weight', 'entropy', 'error', 'doubt'];

// Traits that linked inspectors share, beside the camera, the pointer and the pin.
export const SHARED = [
  'view',
  'slot',
  'overlay',
  'overlay_on',
  'opacity',
  'marks',
  'against',
  'mode',
  'wipe',
  'hidden',
];

export const viewName = kind => VIEWS.find(view => view[0] === kind)[1];
