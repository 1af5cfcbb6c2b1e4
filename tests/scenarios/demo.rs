//! The demo says what to paste, and what it says is so.

use std::fs::{self, File};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use tests::app::{Home, Store};

const HANG: Duration = Duration::from_mins(2);

struct Demo {
    child: Child,
    banner: String,
}

impl Demo {
    fn start(home: &Home, run: &str, arguments: &[&str]) -> Self {
        let free = std::net::TcpListener::bind("127.0.0.1:0").expect("a port is free");
        let address = free.local_addr().expect("it has an address").to_string();
        drop(free);
        let log = home.path(&format!("demo-{run}.log"));
        let mut command = home.command(arguments);
        command.env("LISTEN", address).stdout(Stdio::null());
        command.stderr(File::create(&log).expect("the log can be written"));
        let mut demo = Self { child: command.spawn().expect("the demo starts"), banner: String::new() };
        let begun = Instant::now();
        while !demo.banner.contains("Ctrl-C stops it") {
            assert!(begun.elapsed() < HANG, "no banner: {}", demo.banner);
            assert!(
                demo.child.try_wait().is_ok_and(|ended| ended.is_none()),
                "the demo ended: {}",
                demo.banner
            );
            std::thread::sleep(Duration::from_millis(20));
            demo.banner = fs::read_to_string(&log).unwrap_or_default();
        }
        demo
    }

    /// The commands it offers, and the answers it promises.
    fn examples(&self) -> Vec<(String, String)> {
        let lines: Vec<&str> =
            self.banner.lines().skip_while(|line| !line.contains("Paste these")).skip(1).collect();
        let pairs = lines.chunks(2).filter_map(|pair| {
            let answer = pair.get(1)?.trim().strip_prefix("# ")?;
            Some((pair[0].trim().to_owned(), answer.to_owned()))
        });
        pairs.collect()
    }

    fn stop(mut self) -> Option<i32> {
        let pid = self.child.id().to_string();
        Command::new("kill").args(["-TERM", &pid]).status().expect("it can be asked to stop");
        let begun = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait().expect("the child can be asked") {
                return status.code();
            }
            assert!(begun.elapsed() < HANG, "the demo does not stop");
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

impl Drop for Demo {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

fn pasted(home: &Home, command: &str) -> String {
    let mut shell = Command::new("sh");
    shell
        .args(["-c", command])
        .current_dir(home.path("."))
        .env_clear()
        .env("PATH", "/usr/bin:/bin:/usr/local/bin");
    let output = shell.output().expect("there is a shell");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(!text.is_empty(), "{command}: {}", String::from_utf8_lossy(&output.stderr));
    text
}

fn assert_as_promised(home: &Home, demo: &Demo) {
    let examples = demo.examples();
    assert_eq!(examples.len(), 5, "{}", demo.banner);
    for (command, answer) in examples {
        let told = pasted(home, &command);
        if let Some(count) = answer.strip_suffix(" events, oldest first") {
            assert_eq!(told.lines().count().to_string(), count, "{command}: {told}");
        } else if answer == "directory-v1 equal, access-index equal" {
            for model in ["directory-v1", "access-index"] {
                let line = told.lines().find(|line| line.starts_with(model));
                assert!(line.is_some_and(|line| line.contains("equal")), "{command}: {told}");
            }
        } else {
            assert!(told.contains(&answer), "{command}: promised {answer}, got {told}");
        }
    }
}

#[tokio::test]
async fn what_the_demo_offers_to_paste_answers_as_printed_and_its_history_outlives_it() {
    let home = Home::new(Store::Sqlite).await;
    let data = home.path("data").display().to_string();
    let first = Demo::start(&home, "first", &["demo", "--data", &data]);
    assert!(first.banner.contains("18 months played"), "{}", first.banner);
    assert_as_promised(&home, &first);
    let timeline = |demo: &Demo| {
        let (command, _) =
            demo.examples().into_iter().find(|(command, _)| command.contains(" timeline ")).expect("one");
        pasted(&home, &command)
    };
    let history = timeline(&first);
    assert_eq!(first.stop(), Some(0));

    let second = Demo::start(&home, "second", &["demo", "--data", &data]);
    assert!(second.banner.contains("as it was left"), "{}", second.banner);
    assert_as_promised(&home, &second);
    assert_eq!(timeline(&second), history);
    assert_eq!(second.stop(), Some(0));

    let third = Demo::start(&home, "third", &["demo", "--data", &data, "--fresh"]);
    assert!(third.banner.contains("18 months played"), "{}", third.banner);
    assert_as_promised(&home, &third);
    assert_eq!(third.stop(), Some(0));
}

#[tokio::test]
async fn a_click_in_the_demo_signs_in_on_this_machine_and_leads_nowhere_else() {
    let home = Home::new(Store::Sqlite).await;
    let demo = Demo::start(&home, "clicks", &["demo"]);
    let clicks: Vec<&str> =
        demo.banner.lines().map(str::trim).filter(|line| line.contains("/v1/auth/demo-sign-in?")).collect();
    let (first, last) = (clicks[0], clicks[clicks.len() - 1]);
    let base = first.split("/v1/").next().unwrap_or_default();
    let client = reqwest::Client::builder().no_proxy().redirect(reqwest::redirect::Policy::none()).build();
    let client = client.expect("a client can be made");
    for (click, role) in [(first, "member"), (last, "owner")] {
        let moved = client.get(click).send().await.expect("the demo answers");
        assert_eq!((moved.status().as_u16(), &moved.headers()["location"].as_bytes()), (303, &&b"/"[..]));
        let cookies = moved.headers().get_all("set-cookie").iter().filter_map(|set| set.to_str().ok());
        let cookies: Vec<&str> = cookies.filter_map(|set| set.split(';').next()).collect();
        let asked = client.get(format!("{base}/v1/auth/account")).header("cookie", cookies.join("; "));
        let account: serde_json::Value = asked.send().await.expect("an answer").json().await.expect("JSON");
        assert_eq!(account["role"], role, "{account}");
        let support =
            client.get(format!("{base}/v1/support/deliveries")).header("cookie", cookies.join("; "));
        let support = support.send().await.expect("an answer").status().as_u16();
        assert_eq!(support, if role == "owner" { 200 } else { 403 });
    }
    for (what, request) in [
        ("a name of somebody else's", client.get(first).header("host", "evil.example")),
        ("a proxy in front", client.get(first).header("host", "membership.example.com")),
    ] {
        assert_eq!(request.send().await.expect("an answer").status(), 404, "{what}");
    }
    for to in ["//evil.example", "https://evil.example", "/%5Cevil.example"] {
        let elsewhere = client.get(format!("{first}&to={to}").replace("&to=/&", "&"));
        let answer = elsewhere.send().await.expect("an answer");
        assert_eq!((answer.status().as_u16(), answer.headers().get("set-cookie")), (400, None), "{to}");
    }
    let nobody = client.get(format!("{base}/v1/auth/demo-sign-in?member=mem_nobody"));
    assert_eq!(nobody.send().await.expect("an answer").status(), 404);
    assert_eq!(demo.stop(), Some(0));
}

#[tokio::test]
async fn a_service_that_is_asked_to_stop_ends_well() {
    let home = Home::new(Store::Sqlite).await;
    for signal in ["TERM", "INT"] {
        let mut app = home.serve().await;
        assert_eq!(app.stop(signal), Some(0), "{}", app.log());
        home.done(&["replay", "--verify"]);
    }
}
