//! Cleans up when a test has gone without doing so, however that was.

use std::path::Path;
use std::process::{Child, Command, Stdio};

const WATCH: &str = r#"while kill -0 "$1" && test -d "$2"; do sleep 0.3; done; test -d "$2" || exit 0; "#;

/// Ends with its value, which is dropped by a test that could clean up itself.
#[derive(Debug)]
pub(crate) struct Watchdog(Child);

impl Watchdog {
    /// Does `cleaning`, a piece of shell in which `$2` is the folder, when the folder is there and this process is not.
    pub(crate) fn over(folder: &Path, cleaning: &str) -> Self {
        let mut watchdog = Command::new("sh");
        watchdog
            .arg("-c")
            .arg(format!("{WATCH}{cleaning}"))
            .args(["watchdog", &std::process::id().to_string()]);
        watchdog.arg(folder).current_dir("/");
        // In a process group of its own, so that it outlives an interrupted run for as long as it takes.
        std::os::unix::process::CommandExt::process_group(&mut watchdog, 0);
        watchdog.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        Self(watchdog.spawn().expect("the watchdog starts"))
    }
}

impl Drop for Watchdog {
    fn drop(&mut self) {
        self.0.kill().ok();
        self.0.wait().ok();
    }
}
