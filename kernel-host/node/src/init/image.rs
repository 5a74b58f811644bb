//! What the image says about itself: /lib/luc/image.json.
//!
//! Does:      reads name, version and the time of its packages.
//! Does not:  verify: whoever booted the image vouched for it.
//! Bounds:    the file is read up to `FILE_MAX`.
//! Trusts:    the image.
//! Start at:  `Image::read`.

use serde::Deserialize;
use std::io::Read;

/// Where the image keeps it.
pub(crate) const PATH: &str = "/lib/luc/image.json";
/// The real one has about 400 bytes.
const FILE_MAX: u64 = 64 * 1024;
/// No image is older than this program's first day: 2026-11-01.
const FLOOR_S: u64 = 1_793_491_200;

/// The image's own description.
#[derive(Debug, Clone, Deserialize)]
#[serde(default)]
pub struct Image {
    pub name: String,
    pub version: String,
    /// When its packages were pinned, in seconds since 1970: a floor for the clock.
    pub source_date_epoch: u64,
}

impl Default for Image {
    fn default() -> Image {
        Image {
            name: "luc".to_owned(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            source_date_epoch: FLOOR_S,
        }
    }
}

impl Image {
    /// Reads the description; the defaults where the image has none.
    #[must_use]
    pub fn read(path: &str) -> Image {
        let mut json = Vec::new();
        let read =
            std::fs::File::open(path).and_then(|file| file.take(FILE_MAX).read_to_end(&mut json));
        match read {
            Ok(_) => serde_json::from_slice(&json).unwrap_or_default(),
            Err(_) => Image::default(),
        }
    }

    /// The clock can't be right before this.
    #[must_use]
    pub fn clock_floor_s(&self) -> u64 {
        self.source_date_epoch.max(FLOOR_S)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_floor_is_never_before_the_first_day() {
        let image: Image =
            serde_json::from_str(r#"{"version":"1","kernel":"6.12"}"#).expect("json");
        assert_eq!(
            (image.version.as_str(), image.clock_floor_s()),
            ("1", FLOOR_S)
        );
        let later = Image {
            source_date_epoch: FLOOR_S + 5,
            ..Image::default()
        };
        assert_eq!(later.clock_floor_s(), FLOOR_S + 5);
        let bad = Image {
            source_date_epoch: 0,
            ..Image::default()
        };
        assert_eq!(bad.clock_floor_s(), FLOOR_S);
    }
}
