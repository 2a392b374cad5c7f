// Binary data from the kernel: bytes, and float16 numbers.

// The value of each of the 65536 float16 numbers.
export const FLOAT16 = Float32Array.from({length: 65536}, (_, h) => {
  const sign = h >> 15 ? -1 : 1;
  const exponent = (h >> 10) & 31;
  const fraction = h & 1023;
  if (exponent === 0) return sign * (fraction * 2 ** -24);
  if (exponent === 31) return sign * (fraction ? NaN : Infinity);
  return sign * ((1 + fraction / 1024) * 2 ** (exponent - 15));
});

export const bytes = view => (view ? new Uint8Array(view.buffer, view.byteOffset, view.byteLength) : null);

// Float16 numbers as their bits; copied, as the view may begin at an odd address.
export const halves = view => new Uint16Array(bytes(view).slice().buffer);
