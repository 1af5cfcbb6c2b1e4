//! A QR code as the outline of its dark squares.

use qrcode::types::QrError;
use qrcode::{Color, QrCode};

/// How many squares around it stay light, so that it is found.
const QUIET: usize = 4;

/// A picture that an app reads a text from.
pub(crate) struct Qr {
    /// How many squares it is wide, and high.
    pub(crate) size: usize,
    /// Its dark squares, as the outline of an SVG path.
    pub(crate) path: String,
}

impl Qr {
    /// The picture of a text.
    pub(crate) fn of(text: &str) -> Result<Self, QrError> {
        let code = QrCode::new(text)?;
        let (width, squares) = (code.width(), code.to_colors());
        let mut runs = Vec::new();
        for (y, row) in squares.chunks(width).enumerate() {
            let mut x = 0;
            for run in row.chunk_by(PartialEq::eq) {
                let length = run.len();
                if run.first() == Some(&Color::Dark) {
                    runs.push(format!("M{} {}h{length}v1h-{length}z", x + QUIET, y + QUIET));
                }
                x += length;
            }
        }
        Ok(Self { size: width + 2 * QUIET, path: runs.concat() })
    }
}
