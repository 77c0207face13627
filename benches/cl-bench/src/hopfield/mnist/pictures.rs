//! Small grey pictures: as text in a result, as SVG in a report.

use std::fmt::Write;

use super::{BETA, Model};

/// What completes the digits that are shown, and its name in a result.
pub const MODELS: [(&str, Model); 3] = [
    ("continuous", Model::Continuous(BETA)),
    ("continuous-soft", Model::Continuous(10.0)),
    ("hebb", Model::Hebb),
];

/// A hexadecimal digit a pixel, from white to black, all images one behind the other; `-` what cannot be seen.
pub fn encoded<'a>(images: impl Iterator<Item = &'a [f32]>, visible: Option<&[bool]>) -> String {
    let digit = |level: u32| char::from_digit(level, 16).expect("a level is below 16");
    let mut text = String::new();
    for image in images {
        for (at, grey) in image.iter().enumerate() {
            let hidden = visible.is_some_and(|visible| !visible[at]);
            text.push(if hidden { '-' } else { digit((grey.clamp(0.0, 1.0) * 15.0).round() as u32) });
        }
    }
    text
}

/// Rows of images of `side` × `side`, each under its name.
pub fn svg(rows: &[(&str, &str)], side: usize) -> String {
    const PIXEL: usize = 2;
    const GAP: usize = 6;
    const LABEL: usize = 84;
    let step = side * PIXEL + GAP;
    let columns = rows.iter().map(|(_, images)| images.len() / (side * side)).max().unwrap_or(0);
    let (width, height) = (LABEL + columns * step, rows.len() * step);
    let names: Vec<&str> = rows.iter().map(|(name, _)| *name).collect();
    // Writing to a String cannot fail, here and below.
    let mut out = String::new();
    let _ = write!(
        out,
        r#"<svg xmlns="http://www.w3.org/2000/svg" role="img" aria-label="digits: {}" width="{width}" height="{height}" viewBox="0 0 {width} {height}" shape-rendering="crispEdges">"#,
        names.join(", ")
    );
    for (k, (name, images)) in rows.iter().enumerate() {
        let top = k * step;
        let _ = write!(out, r#"<text class="name" x="0" y="{}">{name}</text>"#, top + step / 2);
        let pixels = images.as_bytes();
        for (column, image) in pixels.chunks_exact(side * side).enumerate() {
            let left = LABEL + column * step;
            let edge = side * PIXEL;
            let _ =
                write!(out, r##"<rect x="{left}" y="{top}" width="{edge}" height="{edge}" fill="#fff"/>"##);
            for (y, line) in image.chunks_exact(side).enumerate() {
                runs(&mut out, line, left, top + y * PIXEL, PIXEL);
            }
        }
    }
    out.push_str("</svg>");
    out
}

/// One line of an image: pixels of one grey side by side are one rectangle, white ones none.
fn runs(out: &mut String, line: &[u8], left: usize, y: usize, pixel: usize) {
    let mut at = 0;
    for run in line.chunk_by(|a, b| a == b) {
        let (x, width) = (left + at * pixel, run.len() * pixel);
        at += run.len();
        let colour = match (run[0] as char).to_digit(16) {
            Some(0) => continue,
            Some(level) => format!("#{:02x}{0:02x}{0:02x}", 255 - 17 * level),
            None => "#bcd3ec".into(),
        };
        let _ = write!(out, r#"<rect x="{x}" y="{y}" width="{width}" height="{pixel}" fill="{colour}"/>"#);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn greys_are_digits() {
        let images = [[0.0, 1.0, 0.5, 2.0], [-1.0, 0.2, 0.4, 0.6]];
        assert_eq!(encoded(images.iter().map(|i| &i[..]), None), "0f8f0369");
        let visible = [true, false, true, false];
        assert_eq!(encoded(images.iter().map(|i| &i[..]), Some(&visible)), "0-8-0-6-");
    }

    /// Two images of 2 × 2: equal neighbours are one rectangle, white is the ground alone.
    #[test]
    fn pictures_are_rectangles() {
        let svg = svg(&[("row", "0fff--00")], 2);
        assert_eq!(svg.matches("<rect").count(), 2 + 2 + 1, "{svg}");
        assert!(svg.contains(r##"width="4" height="2" fill="#000000""##), "{svg}");
        assert!(svg.contains(r##"width="4" height="2" fill="#bcd3ec""##), "{svg}");
    }
}
