// Colours of slots, and the colour map.

export const hexToRgb = hex => [1, 3, 5].map(index => parseInt(hex.slice(index, index + 2), 16));

// Cividis (Nuñez, Anderton and Renslow, 2018): uniform in lightness, and alike for readers with a colour vision
// deficiency.
export const CIVIDIS_STOPS = [
  '#00224e',
  '#123570',
  '#3b496c',
  '#575d6d',
  '#707173',
  '#8a8678',
  '#a59c74',
  '#c3b369',
  '#e1cc55',
  '#fee838',
].map(hexToRgb);
export const CIVIDIS = Uint8Array.from({length: 768}, (_, index) => {
  const x = (Math.floor(index / 3) / 255) * 9;
  const k = Math.min(8, Math.floor(x));
  const c = index % 3;
  return Math.round(CIVIDIS_STOPS[k][c] + (x - k) * (CIVIDIS_STOPS[k + 1][c] - CIVIDIS_STOPS[k][c]));
});

// The value of the map's upper end, and how the legend writes it.
export const VALUE_RANGE = {
  weight: [1, '1'],
  entropy: [2, '2 bits'],
  error: [0.5, '0.5'],
  doubt: [0.5, '0.5'],
  difference: [0.5, '0.5'],
};
