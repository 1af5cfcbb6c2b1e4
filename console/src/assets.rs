//! The stylesheet and the script, under names that change with what is in them.

use std::sync::LazyLock;

use axum::Router;
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE, X_CONTENT_TYPE_OPTIONS};
use axum::routing::get;
use sha2::{Digest, Sha256};

const STYLE: &str = include_str!("../assets/console.css");
const SCRIPT: &str = include_str!("../assets/console.js");

/// Where the stylesheet is.
pub(crate) static STYLE_PATH: LazyLock<String> = LazyLock::new(|| named(STYLE, "css"));
/// Where the script is.
pub(crate) static SCRIPT_PATH: LazyLock<String> = LazyLock::new(|| named(SCRIPT, "js"));

fn named(what: &str, kind: &str) -> String {
    let hash = hex::encode(Sha256::digest(what));
    format!("/console/assets/{}.{kind}", &hash[..16])
}

/// Both, for anybody.
pub(crate) fn router() -> Router {
    let asset = |what: &'static str, kind: &'static str| {
        let headers = [
            (CONTENT_TYPE, kind),
            (CACHE_CONTROL, "public, max-age=31536000, immutable"),
            (X_CONTENT_TYPE_OPTIONS, "nosniff"),
        ];
        get(move || async move { (headers, what) })
    };
    Router::new()
        .route(&STYLE_PATH, asset(STYLE, "text/css; charset=utf-8"))
        .route(&SCRIPT_PATH, asset(SCRIPT, "text/javascript; charset=utf-8"))
}
