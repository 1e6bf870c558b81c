//! What was learned, in a file: `HAKMEM_PROFILE` saves it at exit, and loads it at the next start.
//!
//! Lines of text, the first of which says the version, and the last the sum of all before:
//! ```text
//! hakmem profile 1
//! build BUILD-ID                  of the program that wrote it
//! strategy NUMBER STATE COST
//! sizes N N ...
//! ratings N N ...
//! site BUILD-ID OFFSET GROWS BIN CREDIT DENSITY PATH
//! sum FNV-1A
//! ```
//! A site is an offset in a file of a certain build, so addresses may be others in each process. What
//! does not fit is not trusted: another version or sum is one line on stderr, and so is a profile of
//! another program; sites in files that are not mapped, or are of another build, are skipped.
//!
//! Only a process that learns all of this writes it: what another one does not know is not forgotten.

use core::fmt::{self, Write as _};
use core::ptr::NonNull;
use core::str::SplitAsciiWhitespace;

use super::environment::say;
use super::exit;
use super::image::{self, BuildId, sum};
use super::path::{self, PATH_MAX, Path};
use super::writer::{Printable, Writer};
use crate::base::knobs;
use crate::guard;
use crate::large::{self, Density, Lesson};
use crate::learn::lifecycle::Phase;
use crate::learn::sizes::{BINS, Sizes};
use crate::learn::strategy::STRATEGIES;
use crate::learn::{elo, monitor, strategy::users_floor};
use crate::os;

/// The longest profile: of a thousand sites with paths of a usual length.
const LONGEST: usize = 256 << 10;
const TITLE: &str = "hakmem profile 1";

static PATH: Path = Path::new();

/// Notes where the profile is. Called at most once, by who reads the environment.
pub(super) fn wish(path: &[u8]) {
    PATH.set(path);
    exit::note_stderr();
}

/// The file's name, with its NUL, if one is wished for and the program has a build id.
fn file(into: &mut [u8; PATH_MAX]) -> Option<(&[u8], BuildId)> {
    if PATH.get().is_empty() {
        return None;
    }
    let Some(build) = image::program() else {
        PATH.forget();
        say(format_args!(
            "hakmem: HAKMEM_PROFILE: the program has no build id: ignored"
        ));
        return None;
    };
    let len = path::expand(PATH.get(), build.text().as_bytes(), into)?;
    Some((&into[..=len], build))
}

/// Calls `f` with zeroed memory for a profile; not if the system has none.
fn with_room<T>(f: impl FnOnce(&mut [u8]) -> Option<T>) -> Option<T> {
    let start: NonNull<u8> = os::map(0, LONGEST)?;
    // SAFETY: the mapping is that long, zeroed, and this function's alone.
    let result = f(unsafe { core::slice::from_raw_parts_mut(start.as_ptr(), LONGEST) });
    // SAFETY: the reference has ended.
    unsafe { os::discard(start, LONGEST) };
    result
}

/// Loads the profile, if there is one.
pub(crate) fn load() {
    let mut path = [0; PATH_MAX];
    let Some((file, build)) = file(&mut path) else {
        return;
    };
    let refused = if os::is_file_or_nothing(file) {
        with_room(|room| {
            let text = os::read_file(file, room)?;
            parse(text, &build).err()
        })
    } else {
        // At the exit it would be replaced.
        PATH.forget();
        Some("is no regular file")
    };
    if let Some(why) = refused {
        let name = &file[..file.len() - 1];
        say(format_args!(
            "hakmem: HAKMEM_PROFILE: {} {why}: ignored",
            Printable(name)
        ));
    }
}

/// Whether all that a profile holds is learned here.
fn learns() -> bool {
    let learners = [&knobs::ELO, &knobs::CREDIT, &knobs::DENSITY, &knobs::SITES];
    learners.iter().all(|learner| learner.get()) && !guard::on() && users_floor().is_none()
}

/// What a profile says before its sites.
struct Head {
    strategy: usize,
    frozen: Option<(Sizes, u64)>,
    ratings: [i32; STRATEGIES],
}

/// Understands a profile and takes it over as a whole, or not at all.
fn parse(text: &[u8], build: &BuildId) -> Result<(), &'static str> {
    const DAMAGED: &str = "is damaged";
    let text = core::str::from_utf8(text).map_err(|_| DAMAGED)?;
    let (body, end) = text.rsplit_once("sum ").ok_or(DAMAGED)?;
    let expected = u64::from_str_radix(end.trim_end(), 16);
    if expected != Ok(sum(body.as_bytes())) {
        return Err(DAMAGED);
    }
    let mut lines = body.lines();
    if lines.next() != Some(TITLE) {
        return Err("is of another version of hakmem");
    }
    let written_by = lines.next().and_then(|line| line.strip_prefix("build "));
    if written_by != Some(build.text()) {
        return Err("is of another program");
    }
    let head = head(&mut lines).ok_or(DAMAGED)?;
    if lines.clone().any(|line| site(line).is_none()) {
        return Err(DAMAGED);
    }
    // What the user has set holds. (`HAKMEM_EVO=frozen` is what was learned, and stays.)
    if monitor::was_started() {
        monitor::rate(&head.ratings);
    } else if knobs::ELO.get() || monitor::is_fixed() {
        monitor::resume(head.strategy, head.frozen, &head.ratings);
    }
    image::each(|image| {
        let mut here = lines
            .clone()
            .filter_map(site)
            .filter(|s| s.path == image.path)
            .peekable();
        if here.peek().is_none() {
            return;
        }
        let build = image::build_of(image.base);
        for site in here {
            let address = image.base.wrapping_add(site.offset);
            if build.is_some_and(|b| b.text() == site.build) && image.code.contains(&address) {
                let key = large::site_key(address, site.grows);
                let credit = if knobs::CREDIT.get() {
                    site.lesson.credit
                } else {
                    0
                };
                let lesson = Lesson {
                    key,
                    credit,
                    ..site.lesson
                };
                large::teach(&lesson, address);
            }
        }
    });
    Ok(())
}

fn number<T: TryFrom<u64>>(fields: &mut SplitAsciiWhitespace<'_>) -> Option<T> {
    T::try_from(fields.next()?.parse::<u64>().ok()?).ok()
}

/// The fields of the next line, which begins with `name`.
fn fields<'a>(lines: &mut core::str::Lines<'a>, name: &str) -> Option<SplitAsciiWhitespace<'a>> {
    let mut fields = lines.next()?.split_ascii_whitespace();
    (fields.next()? == name).then_some(fields)
}

fn head(lines: &mut core::str::Lines<'_>) -> Option<Head> {
    let mut line = fields(lines, "strategy")?;
    let strategy = number::<usize>(&mut line).filter(|n| *n < STRATEGIES)?;
    let was_frozen = line.next()? == Phase::Frozen.name();
    let cost = number(&mut line)?;
    let mut line = fields(lines, "sizes")?;
    let mut sizes = Sizes::NONE;
    for size in &mut sizes.0 {
        *size = number(&mut line)?;
    }
    let mut line = fields(lines, "ratings")?;
    let mut ratings = [0; STRATEGIES];
    for rating in &mut ratings {
        *rating = number::<i32>(&mut line).filter(|r| *r < 4 * elo::START)?;
    }
    Some(Head {
        strategy,
        frozen: was_frozen.then_some((sizes, cost)),
        ratings,
    })
}

/// A line about a site.
struct SiteLine<'a> {
    build: &'a str,
    offset: usize,
    grows: bool,
    /// With a key of 0: that depends on where the file is mapped.
    lesson: Lesson,
    path: &'a str,
}

fn site(line: &str) -> Option<SiteLine<'_>> {
    let line = line.strip_prefix("site ")?;
    let (front, path) = line.split_at(line.find('/')?);
    let mut fields = front.split_ascii_whitespace();
    let build = fields.next()?;
    let offset = usize::from_str_radix(fields.next()?, 16).ok()?;
    let grows = number::<u64>(&mut fields)? == 1;
    Some(SiteLine {
        build,
        offset,
        grows,
        lesson: Lesson {
            key: 0,
            bin: number(&mut fields)?,
            credit: number(&mut fields)?,
            density: Density::from_number(number(&mut fields)?)?,
        },
        path,
    })
}

/// Saves what has been learned, if that is wished for. The file is there as a whole, or as it was.
pub(super) fn save() {
    if !learns() {
        return;
    }
    let mut path = [0; PATH_MAX];
    let Some((file, build)) = file(&mut path) else {
        return;
    };
    let saved = with_room(|room| {
        let len = render(room, &build)?;
        let mut temporary = [0; PATH_MAX];
        let name = &file[..file.len() - 1];
        let mut out = Writer::to_slice(&mut temporary[..PATH_MAX - 1]);
        name.iter().for_each(|byte| out.write_byte(*byte));
        write!(out, ".{}", os::process_id()).ok()?;
        let end = out.finish();
        let temporary = temporary.get(..=end).filter(|t| t.last() == Some(&0))?;
        if !os::is_file_or_nothing(file) {
            return None;
        }
        let fd = os::create_anew(temporary)?;
        let written = os::write_all(fd, &room[..len]);
        os::close(fd);
        let done = written && os::rename(temporary, file);
        if !done {
            os::unlink(temporary);
        }
        done.then_some(())
    });
    if saved.is_none() {
        exit::say_later(format_args!(
            "hakmem: HAKMEM_PROFILE: cannot write {}",
            Printable(&file[..file.len() - 1])
        ));
    }
}

/// Writes the profile into `room`; its length.
fn render(room: &mut [u8], build: &BuildId) -> Option<usize> {
    // The sum's line has its room, whatever comes before.
    const LAST: usize = 64;
    let space = room.len() - LAST;
    let mut out = Writer::to_slice(&mut room[..space]);
    write_body(&mut out, build).ok()?;
    let len = Some(out.finish()).filter(|len| *len <= space)?;
    let total = sum(&room[..len]);
    let mut out = Writer::to_slice(&mut room[len..]);
    writeln!(out, "sum {total:x}").ok()?;
    Some(len + out.finish())
}

fn write_body(out: &mut Writer<'_>, build: &BuildId) -> fmt::Result {
    let life = monitor::lifecycle();
    let (sizes, cost) = life.frozen().unwrap_or((Sizes::NONE, 0));
    writeln!(out, "{TITLE}\nbuild {}", build.text())?;
    writeln!(
        out,
        "strategy {} {} {cost}",
        life.proved(),
        life.phase.name()
    )?;
    out.write_str("sizes")?;
    for i in 0..BINS {
        write!(out, " {}", sizes.0[i])?;
    }
    out.write_str("\nratings")?;
    for arm in &life.arms {
        write!(out, " {}", arm.rating.max(0))?;
    }
    out.write_str("\n")?;
    let mut result = Ok(());
    image::each(|image| {
        let mut build = None;
        large::each_lesson(|lesson| {
            let address = large::site_address(lesson.key).unwrap_or(0);
            if result.is_ok() && image.code.contains(&address) && !image.path.contains('\n') {
                let build = build.get_or_insert_with(|| image::build_of(image.base));
                if let Some(build) = build {
                    result = writeln!(
                        out,
                        "site {} {:x} {} {} {} {} {}",
                        build.text(),
                        address - image.base,
                        u8::from(large::site_grows(lesson.key)),
                        lesson.bin,
                        lesson.credit,
                        lesson.density as u8,
                        image.path
                    );
                }
            }
        });
    });
    result
}
