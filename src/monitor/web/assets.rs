//! The files of the page, embedded in the program: the page works without internet access.

/// A file of the page.
#[derive(Debug, Clone, Copy)]
pub struct Asset {
    /// Its name below `/assets/`.
    pub name: &'static str,
    /// Its media type.
    pub content_type: &'static str,
    /// Its bytes.
    pub content: &'static [u8],
}

/// The page itself.
pub const INDEX: &[u8] = include_bytes!("assets/index.html");
const SCRIPT: &str = "text/javascript; charset=utf-8";
const STYLE: &str = "text/css; charset=utf-8";

macro_rules! asset {
    ($name:literal, $content_type:expr) => {
        Asset { name: $name, content_type: $content_type, content: include_bytes!(concat!("assets/", $name)) }
    };
}

/// All of them.
pub const ASSETS: &[Asset] = &[
    asset!("page.css", STYLE),
    asset!("theme.js", SCRIPT),
    asset!("page.js", SCRIPT),
    asset!("net.js", SCRIPT),
    asset!("format.js", SCRIPT),
    asset!("dom.js", SCRIPT),
    asset!("verdict.js", SCRIPT),
    asset!("charts.js", SCRIPT),
    asset!("jobs.js", SCRIPT),
    asset!("span.js", SCRIPT),
    asset!("tables.js", SCRIPT),
    asset!("icon.svg", "image/svg+xml"),
    asset!("vendor/uplot-1.6.32.min.js", SCRIPT),
    asset!("vendor/uplot-1.6.32.min.css", STYLE),
];

/// The file of this name.
pub fn find(name: &str) -> Option<&'static Asset> {
    ASSETS.iter().find(|asset| asset.name == name)
}
