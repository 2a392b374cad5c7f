// A PDF of one page that shows a picture, without loss.

const DPI = 300;

const deflate = async bytes => {
  const packed = new Blob([bytes]).stream().pipeThrough(new globalThis.CompressionStream('deflate'));
  return new Uint8Array(await new globalThis.Response(packed).arrayBuffer());
};

// Return the colours of a canvas, without alpha.
function rgbOf(canvas) {
  const {data} = canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height);
  const rgb = new Uint8Array((data.length / 4) * 3);
  for (let p = 0, q = 0; p < data.length; p += 4, q += 3) rgb.set(data.subarray(p, p + 3), q);
  return rgb;
}

// Join the objects of a PDF, each a list of texts and bytes, and write where each of them begins.
function joinObjects(objects) {
  const encoder = new globalThis.TextEncoder();
  const parts = [encoder.encode('%PDF-1.4\n')];
  const length = () => parts.reduce((sum, part) => sum + part.length, 0);
  const starts = objects.map((object, index) => {
    const start = length();
    for (const part of [`${index + 1} 0 obj\n`, ...object, '\nendobj\n'])
      parts.push(typeof part === 'string' ? encoder.encode(part) : part);
    return start;
  });
  const entries = starts.map(start => `${String(start).padStart(10, '0')} 00000 n \n`).join('');
  const n = objects.length + 1;
  const table = `xref\n0 ${n}\n0000000000 65535 f \n${entries}`;
  const trailer = `trailer\n<< /Size ${n} /Root 1 0 R >>\nstartxref\n${length()}\n%%EOF\n`;
  return new Blob([...parts, table, trailer], {type: 'application/pdf'});
}

export const picturePdf = async canvas => {
  const {width, height} = canvas;
  const [w, h] = [width, height].map(px => ((72 * px) / DPI).toFixed(2));
  const pixels = await deflate(rgbOf(canvas));
  const drawing = `q ${w} 0 0 ${h} 0 0 cm /Picture Do Q`;
  const size = `/Width ${width} /Height ${height} /ColorSpace /DeviceRGB /BitsPerComponent 8`;
  const image = `<< /Type /XObject /Subtype /Image ${size} /Filter /FlateDecode /Length ${pixels.length} >>`;
  const resources = '<< /XObject << /Picture 4 0 R >> >>';
  return joinObjects([
    ['<< /Type /Catalog /Pages 2 0 R >>'],
    ['<< /Type /Pages /Kids [3 0 R] /Count 1 >>'],
    [`<< /Type /Page /Parent 2 0 R /MediaBox [0 0 ${w} ${h}] /Resources ${resources} /Contents 5 0 R >>`],
    [`${image}\nstream\n`, pixels, '\nendstream'],
    [`<< /Length ${drawing.length} >>\nstream\n${drawing}\nendstream`],
  ]);
};
