//! QR codes as images: SVG for a web page, half blocks for a terminal.

use super::invalid::Invalid;
use qrcode::{Color, EcLevel, QrCode};
use std::fmt::Write;

/// The width in modules of the light border that ISO/IEC 18004 requires.
const QUIET_ZONE: usize = 4;

/// The modules of a QR code with its quiet zone.
struct Matrix {
    /// The number of modules per side, including the quiet zone.
    side: usize,
    inner: usize,
    dark: Vec<bool>,
}

impl Matrix {
    fn encode(data: &str) -> Result<Self, Invalid> {
        let code = QrCode::with_error_correction_level(data, EcLevel::M)
            .map_err(|_| Invalid::QrCapacity)?;
        let inner = code.width();
        let dark = code.into_colors().into_iter().map(|color| color == Color::Dark).collect();
        Ok(Self { side: inner + 2 * QUIET_ZONE, inner, dark })
    }

    fn is_dark(&self, x: usize, y: usize) -> bool {
        let inside = |place: usize| place.checked_sub(QUIET_ZONE).filter(|p| *p < self.inner);
        match (inside(x), inside(y)) {
            (Some(x), Some(y)) => self.dark.get(y * self.inner + x).copied().unwrap_or(false),
            _ => false,
        }
    }
}

/// Draws a QR code as an SVG image, black on a white background, so that it can be scanned on dark
/// pages too. Adjacent dark modules in a row are joined into one stroke to keep the image small.
pub fn svg(data: &str) -> Result<String, Invalid> {
    let matrix = Matrix::encode(data)?;
    let side = matrix.side;
    let mut path = String::new();
    for y in 0..side {
        let mut x = 0;
        while x < side {
            let length = (x..side).take_while(|x| matrix.is_dark(*x, y)).count();
            if length > 0 {
                // Writing to a String cannot fail.
                let _ = write!(path, "M{x} {y}h{length}");
            }
            x += length.max(1);
        }
    }
    Ok(format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {side} {side}\" \
         width=\"{pixels}\" height=\"{pixels}\" shape-rendering=\"crispEdges\">\
         <rect width=\"{side}\" height=\"{side}\" fill=\"#fff\"/>\
         <path transform=\"translate(0 .5)\" stroke=\"#000\" d=\"{path}\"/></svg>",
        pixels = side * 4,
    ))
}

/// Draws a QR code with Unicode half blocks, two rows of modules per line. Blocks are light
/// modules, for terminals with light text on a dark background.
pub fn text(data: &str) -> Result<String, Invalid> {
    let matrix = Matrix::encode(data)?;
    let lines: Vec<String> = (0..matrix.side)
        .step_by(2)
        .map(|y| (0..matrix.side).map(|x| half_block(&matrix, x, y)).collect())
        .collect();
    Ok(lines.join("\n"))
}

fn half_block(matrix: &Matrix, x: usize, y: usize) -> char {
    match (matrix.is_dark(x, y), matrix.is_dark(x, y + 1)) {
        (false, false) => '█',
        (false, true) => '▀',
        (true, false) => '▄',
        (true, true) => ' ',
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_images_contain_the_finder_pattern() {
        let svg = svg("otpauth://totp/x").unwrap();
        assert!(svg.contains("d=\"M4 4h7"), "{svg}");
        let text = text("otpauth://totp/x").unwrap();
        let lines: Vec<&str> = text.lines().collect();
        let side = lines.first().unwrap().chars().count();
        assert_eq!(lines.len(), side.div_ceil(2));
        assert_eq!(lines.first().unwrap(), &"█".repeat(side));
        assert!(lines.get(2).unwrap().starts_with("████ ▄▄▄▄▄ "), "{text}");
    }

    #[test]
    fn data_that_does_not_fit_is_rejected() {
        assert!(svg(&"x".repeat(2331)).is_ok());
        assert_eq!(svg(&"x".repeat(2332)), Err(Invalid::QrCapacity));
        assert_eq!(text(&"x".repeat(5000)), Err(Invalid::QrCapacity));
    }
}
