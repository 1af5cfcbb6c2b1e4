//! The catalogue file: TOML, checked as a whole, with the line of every mistake.

use std::ops::Range;
use std::path::{Component, Path, PathBuf};
use std::time::Duration;
use std::{fmt, fs, io};

use domain::catalog::{
    Catalog, CatalogCommand, CatalogError, Content, Course, KeepOrDeny, Plan, Playback, Policy, Roadmap,
    Video, WhileCollectionPaused, decide,
};
use serde::Deserialize;
use thiserror::Error;
use toml::Spanned;

/// Longer than any provider tries to collect.
const LONGEST_GRACE: Duration = Duration::from_hours(10 * 366 * 24);

/// As long as the provider allows.
const LONGEST_TRIAL: u32 = 730;

/// What is wrong with a catalogue file.
#[derive(Debug, Error)]
pub enum CatalogFileError {
    /// It cannot be read.
    #[error("{}: cannot be read: {why}; give the path of a catalogue file", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Why.
        why: io::Error,
    },
    /// Something in it is wrong.
    #[error("{}:{line}: {what}", path.display())]
    Mistake {
        /// The file.
        path: PathBuf,
        /// The line, from 1.
        line: usize,
        /// What is wrong and why.
        what: String,
    },
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    #[serde(default)]
    policy: PolicyTable,
    #[serde(default)]
    plans: Vec<PlanTable>,
    #[serde(default)]
    roadmaps: Vec<RoadmapTable>,
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields)]
struct PolicyTable {
    past_due_grace: Option<Spanned<String>>,
    collection_paused: Option<WhileCollectionPaused>,
    refund_full: Option<KeepOrDeny>,
    dispute_open: Option<KeepOrDeny>,
    ignore_unmapped_products: Option<bool>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct PlanTable {
    id: Spanned<String>,
    name: Spanned<String>,
    rank: Spanned<i32>,
    #[serde(default)]
    stripe_prices: Vec<Spanned<String>>,
    #[serde(default)]
    stripe_products: Vec<Spanned<String>>,
    trial_days: Option<Spanned<u32>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RoadmapTable {
    id: Spanned<String>,
    name: Spanned<String>,
    #[serde(default)]
    plans: Vec<Spanned<String>>,
    #[serde(default)]
    courses: Vec<CourseTable>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct CourseTable {
    id: Spanned<String>,
    name: Spanned<String>,
    #[serde(default)]
    free: bool,
    #[serde(default)]
    videos: Vec<VideoTable>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct VideoTable {
    id: Spanned<String>,
    name: Spanned<String>,
    #[serde(default)]
    free: bool,
    vimeo_id: Option<Spanned<String>>,
    file: Option<Spanned<String>>,
}

/// Reads a catalogue file.
pub fn read(path: &Path) -> Result<Content, CatalogFileError> {
    let text = fs::read_to_string(path)
        .map_err(|why| CatalogFileError::Unreadable { path: path.to_owned(), why })?;
    parse(&text).map_err(|mistake| CatalogFileError::Mistake {
        path: path.to_owned(),
        line: mistake.line_in(&text),
        what: mistake.what,
    })
}

/// A mistake and where it is, in bytes from the start.
#[derive(Debug, PartialEq, Eq)]
pub struct Mistake {
    at: usize,
    what: String,
}

impl Mistake {
    /// The line it is in, from 1, in the text that was parsed.
    pub fn line_in(&self, text: &str) -> usize {
        1 + text.bytes().take(self.at).filter(|byte| *byte == b'\n').count()
    }
}

impl fmt::Display for Mistake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.what)
    }
}

fn mistake(span: Range<usize>, what: impl Into<String>) -> Mistake {
    Mistake { at: span.start, what: what.into() }
}

/// Reads the text of a catalogue file.
pub fn parse(text: &str) -> Result<Content, Mistake> {
    let file: File =
        toml::from_str(text).map_err(|error| mistake(error.span().unwrap_or_default(), error.message()))?;
    let mut reading = Reading::default();
    reading.content.policy = policy(file.policy)?;
    for plan in file.plans {
        reading.plan(plan)?;
    }
    for (place, roadmap) in (0..).zip(file.roadmaps) {
        reading.roadmap(place, roadmap)?;
    }
    reading.finish()
}

#[derive(Default)]
struct Reading {
    content: Content,
    /// Where each id was written, for mistakes that only the whole shows.
    spans: Vec<(&'static str, String, Range<usize>)>,
}

impl Reading {
    fn slug<T: From<String>>(&mut self, kind: &'static str, id: Spanned<String>) -> Result<T, Mistake> {
        let span = id.span();
        let id = id.into_inner();
        let fits = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
        if id.is_empty() || id.len() > 80 || !id.bytes().all(fits) {
            let what = format!(
                "the {kind} id {id:?} is not a slug: use up to 80 lower-case letters, digits and -, such as event-sourcing"
            );
            return Err(mistake(span, what));
        }
        if self.spans.iter().any(|(other, known, _)| *other == kind && *known == id) {
            let error = CatalogError::Twice { kind, id };
            return Err(mistake(span, error.to_string()));
        }
        self.spans.push((kind, id.clone(), span));
        Ok(id.into())
    }

    fn plan(&mut self, plan: PlanTable) -> Result<(), Mistake> {
        let id: domain::ids::PlanId = self.slug("plan", plan.id)?;
        if let Some(other) = self.content.plans.iter().find(|other| other.rank == *plan.rank.get_ref()) {
            let what = format!(
                "the plans {:?} and {id:?} have the same rank {}; the higher of two plans has to be the better one",
                other.id, other.rank
            );
            return Err(mistake(plan.rank.span(), what));
        }
        let mut stripe = |ids: Vec<Spanned<String>>| -> Result<Vec<String>, Mistake> {
            let one = |id: Spanned<String>| {
                if id.get_ref().trim().is_empty() {
                    return Err(mistake(id.span(), "a Stripe id cannot be empty"));
                }
                self.spans.push(("stripe", id.get_ref().clone(), id.span()));
                Ok(id.into_inner())
            };
            ids.into_iter().map(one).collect()
        };
        let prices = stripe(plan.stripe_prices)?.into_iter().map(Into::into).collect();
        let products = stripe(plan.stripe_products)?.into_iter().map(Into::into).collect();
        let trial_days = match plan.trial_days {
            Some(days) if !(1..=LONGEST_TRIAL).contains(days.get_ref()) => {
                let what = format!("a trial has 1 to {LONGEST_TRIAL} days; leave trial_days out for none");
                return Err(mistake(days.span(), what));
            }
            days => days.map(Spanned::into_inner),
        };
        let (name, rank) = (name("plan", plan.name)?, plan.rank.into_inner());
        self.content.plans.push(Plan { id, name, rank, prices, products, trial_days });
        Ok(())
    }

    fn roadmap(&mut self, place: u32, roadmap: RoadmapTable) -> Result<(), Mistake> {
        let span = roadmap.id.span();
        let id: domain::ids::RoadmapId = self.slug("roadmap", roadmap.id)?;
        if roadmap.plans.is_empty() {
            let what = format!(
                "the roadmap {id:?} has no plans, so nobody could open it; write plans = [\"…\"] with at least one plan's id"
            );
            return Err(mistake(span, what));
        }
        for plan in &roadmap.plans {
            if !self.content.plans.iter().any(|known| known.id.as_str() == plan.get_ref()) {
                let what = format!(
                    "the roadmap {id:?} names the plan {:?}, which is not in this file",
                    plan.get_ref()
                );
                return Err(mistake(plan.span(), what));
            }
        }
        let plans = roadmap.plans.into_iter().map(|plan| plan.into_inner().into()).collect();
        let name = name("roadmap", roadmap.name)?;
        self.content.roadmaps.push(Roadmap { id: id.clone(), name, plans, place });
        for (place, course) in (0..).zip(roadmap.courses) {
            self.course(place, &id, course)?;
        }
        Ok(())
    }

    fn course(
        &mut self,
        place: u32,
        roadmap: &domain::ids::RoadmapId,
        course: CourseTable,
    ) -> Result<(), Mistake> {
        let id: domain::ids::CourseId = self.slug("course", course.id)?;
        let name = name("course", course.name)?;
        for (place, video) in (0..).zip(course.videos) {
            self.video(place, &id, video)?;
        }
        let roadmap = roadmap.clone();
        self.content.courses.push(Course { id, name, free: course.free, roadmap, place });
        Ok(())
    }

    fn video(
        &mut self,
        place: u32,
        course: &domain::ids::CourseId,
        video: VideoTable,
    ) -> Result<(), Mistake> {
        let playback = match (video.vimeo_id, video.file) {
            (Some(vimeo), Some(_)) => {
                return Err(mistake(vimeo.span(), "a video has either a vimeo_id or a file, not both"));
            }
            (Some(vimeo), None) => Some(Playback::Vimeo { id: vimeo.into_inner() }),
            (None, Some(path)) => Some(Playback::File { path: inside(path)? }),
            (None, None) => None,
        };
        let (id, course) = (self.slug("video", video.id)?, course.clone());
        let name = name("video", video.name)?;
        self.content.videos.push(Video { id, name, free: video.free, course, place, playback });
        Ok(())
    }

    /// Lets the rules have their say, so that a file that reads well can also be applied.
    fn finish(self) -> Result<Content, Mistake> {
        let apply = CatalogCommand::Apply(Box::new(self.content.clone()));
        match decide(&Catalog::default(), apply) {
            Ok(_) => Ok(self.content),
            Err(error) => {
                let named = match &error {
                    CatalogError::Shared { id, .. }
                    | CatalogError::Twice { id, .. }
                    | CatalogError::Dangling { id, .. } => Some(id.as_str()),
                    CatalogError::TooManyPlans => None,
                };
                let of_name = |(_, id, _): &&(_, String, Range<usize>)| Some(id.as_str()) == named;
                // The later of two is the one that is one too many.
                let span = self.spans.iter().filter(of_name).map(|(.., span)| span.clone()).next_back();
                Err(mistake(span.unwrap_or_default(), error.to_string()))
            }
        }
    }
}

/// A name that can be read.
fn name(kind: &str, name: Spanned<String>) -> Result<String, Mistake> {
    if name.get_ref().trim().is_empty() {
        return Err(mistake(name.span(), format!("the {kind} has an empty name; members read it")));
    }
    Ok(name.into_inner())
}

/// A path that stays inside the folder that files are served from.
fn inside(path: Spanned<String>) -> Result<String, Mistake> {
    let plain = |part| matches!(part, Component::Normal(_));
    if path.get_ref().is_empty() || !Path::new(path.get_ref()).components().all(plain) {
        let what =
            format!("the file {:?} is not a plain relative path, such as clips/hello.mp4", path.get_ref());
        return Err(mistake(path.span(), what));
    }
    Ok(path.into_inner())
}

fn policy(table: PolicyTable) -> Result<Policy, Mistake> {
    let default = Policy::default();
    let past_due_grace_seconds = match table.past_due_grace {
        None => default.past_due_grace_seconds,
        Some(text) => {
            let duration = humantime::parse_duration(text.get_ref()).map_err(|error| {
                let what = format!(
                    "past_due_grace {:?} is not a duration ({error}); write it like \"14d\" or \"36h\"",
                    text.get_ref()
                );
                mistake(text.span(), what)
            })?;
            if duration.subsec_nanos() != 0 || duration > LONGEST_GRACE {
                let what =
                    format!("past_due_grace {:?} is not whole seconds up to ten years", text.get_ref());
                return Err(mistake(text.span(), what));
            }
            duration.as_secs()
        }
    };
    Ok(Policy {
        past_due_grace_seconds,
        collection_paused: table.collection_paused.unwrap_or(default.collection_paused),
        refund_full: table.refund_full.unwrap_or(default.refund_full),
        dispute_open: table.dispute_open.unwrap_or(default.dispute_open),
        ignore_unmapped_products: table.ignore_unmapped_products.unwrap_or(default.ignore_unmapped_products),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = r#"
[policy]
past_due_grace = "7d"

[[plans]]
id = "basic"
name = "Basic"
rank = 1
stripe_prices = ["price_basic"]

[[roadmaps]]
id = "start"
name = "Start"
plans = ["basic"]

  [[roadmaps.courses]]
  id = "rust"
  name = "Rust"

    [[roadmaps.courses.videos]]
    id = "hello"
    name = "Hello"
    vimeo_id = "76979871"
"#;

    fn line_and_words(text: &str) -> (usize, String) {
        let Mistake { at, what } = parse(text).unwrap_err();
        (1 + text[..at].matches('\n').count(), what)
    }

    #[test]
    fn a_whole_file_is_read() {
        let content = parse(GOOD).unwrap();
        assert_eq!(content.policy.past_due_grace_seconds, 7 * 86_400);
        assert_eq!(content.videos[0].playback, Some(Playback::Vimeo { id: "76979871".into() }));
        assert_eq!(content.courses[0].roadmap, "start".into());
    }

    #[test]
    fn a_mistake_is_told_with_its_line() {
        let cases = [
            (GOOD.replace("plans = [\"basic\"]", "plans = [\"pro\"]"), 14, "pro"),
            (GOOD.replace("id = \"hello\"", "id = \"Hello World\""), 21, "not a slug"),
            (GOOD.replace("\"7d\"", "\"a week\""), 3, "not a duration"),
            (GOOD.replace("\"7d\"", "\"300000y\""), 3, "up to ten years"),
            (GOOD.replace("\"7d\"", "\"500ms\""), 3, "whole seconds"),
            (GOOD.replace("vimeo_id = \"76979871\"", "vimeo_id = \"1\"\n    file = \"a.mp4\""), 23, "either"),
            (GOOD.replace("name = \"Hello\"", "nam = \"Hello\""), 22, "nam"),
            (GOOD.replace("rank = 1", "rank = \"one\""), 8, "invalid type"),
            (GOOD.replace("name = \"Basic\"", "name = \" \""), 7, "the plan has an empty name"),
            (GOOD.replace("name = \"Start\"", "name = \"\""), 13, "the roadmap has an empty name"),
            (GOOD.replace("name = \"Rust\"", "name = \"\""), 18, "the course has an empty name"),
            (GOOD.replace("name = \"Hello\"", "name = \"\""), 22, "the video has an empty name"),
            (GOOD.replace("plans = [\"basic\"]\n", ""), 12, "has no plans"),
            (GOOD.replace("plans = [\"basic\"]", "plans = []"), 12, "has no plans"),
            (format!("{GOOD}\n[[plans]]\nid = \"pro\"\nname = \"Pro\"\nrank = 1\n"), 28, "the same rank 1"),
            (format!("{GOOD}\n[[plans]]\nid = \"basic\"\nname = \"B\"\nrank = 2\n"), 26, "twice"),
            (
                format!(
                    "{GOOD}\n[[plans]]\nid = \"pro\"\nname = \"P\"\nrank = 2\nstripe_prices = [\"price_basic\"]\n"
                ),
                29,
                "can stand for one only",
            ),
        ];
        for (text, line, words) in cases {
            let (told_line, told) = line_and_words(&text);
            assert!(told.contains(words), "{told}");
            assert_eq!(told_line, line, "{told}");
        }
    }

    #[test]
    fn whatever_is_in_the_file_is_refused_or_applied_never_a_panic() {
        for text in ["", "\u{0}", "[policy]\npast_due_grace = 3", "[[roadmaps]]", "plans = 1"] {
            let _ = parse(text);
        }
    }
}
