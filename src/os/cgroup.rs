//! How much memory this process and its neighbours in a container may use, as /proc and /sys say.
//!
//! A process over the limit of its control group is killed, with no call that fails before. So memory
//! that is only kept because it may be wanted again has to be a small share of that.

use core::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use super::read_file;

/// The limit, once it has been read; 0 before.
static LIMIT: AtomicUsize = AtomicUsize::new(0);

/// The longest path of a file in a control group, with its NUL.
const PATH_MAX: usize = 1024;

/// The limit of the control groups that this process was in when it was first asked for; `usize::MAX`
/// where there is none, or none can be read.
pub(crate) fn memory_limit() -> usize {
    match LIMIT.load(Relaxed) {
        0 => read_limit(),
        limit => limit,
    }
}

#[cold]
#[inline(never)]
fn read_limit() -> usize {
    let mut buffer = [0; 4096];
    let groups = read_file(b"/proc/self/cgroup\0", &mut buffer).unwrap_or_default();
    let limit = least(groups, |path| {
        let mut buffer = [0; 32];
        number(read_file(path, &mut buffer)?)
    });
    LIMIT.store(limit.max(1), Relaxed);
    limit
}

/// The least of the limits that `read` finds for `groups`, the content of /proc/self/cgroup.
fn least(groups: &[u8], mut read: impl FnMut(&[u8]) -> Option<usize>) -> usize {
    let mut least = usize::MAX;
    for line in groups.split(|byte| *byte == b'\n') {
        let mut fields = line.splitn(3, |byte| *byte == b':').skip(1);
        let (Some(controllers), Some(group)) = (fields.next(), fields.next()) else {
            continue;
        };
        let mut controllers = controllers.split(|byte| *byte == b',');
        let (root, file): (&[u8], &[u8]) = if line.starts_with(b"0::") {
            (b"/sys/fs/cgroup", b"/memory.max\0")
        } else if controllers.any(|name| name == b"memory") {
            (b"/sys/fs/cgroup/memory", b"/memory.limit_in_bytes\0")
        } else {
            continue;
        };
        // The limits of all groups around it hold, too. In a container only the last may be visible.
        let mut group = group;
        loop {
            while let Some(shorter) = group.strip_suffix(b"/") {
                group = shorter;
            }
            let mut path = [0; PATH_MAX];
            let mut len = 0;
            for part in [root, group, file] {
                if let Some(room) = path.get_mut(len..len + part.len()) {
                    room.copy_from_slice(part);
                }
                len += part.len();
            }
            if let Some(limit) = path.get(..len).and_then(&mut read) {
                least = least.min(limit);
            }
            let Some(end) = group.iter().rposition(|byte| *byte == b'/') else {
                break;
            };
            group = &group[..end];
        }
    }
    least
}

/// The number that a text begins with; `None` for one without, as "max".
fn number(text: &[u8]) -> Option<usize> {
    let digits = text.iter().take_while(|byte| byte.is_ascii_digit());
    digits.fold(None, |number, digit| {
        let digit = usize::from(digit - b'0');
        Some(
            number
                .unwrap_or(0usize)
                .saturating_mul(10)
                .saturating_add(digit),
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    extern crate std;
    use std::format;
    use std::string::{String, ToString};
    use std::vec::Vec;

    fn asked(groups: &str, files: &[(&str, &str)]) -> (usize, Vec<String>) {
        let mut paths = Vec::new();
        let limit = least(groups.as_bytes(), |path| {
            let path = path.strip_suffix(b"\0").unwrap();
            let path = String::from_utf8(path.to_vec()).unwrap();
            let file = files.iter().find(|(name, _)| *name == path);
            paths.push(path);
            number(file?.1.as_bytes())
        });
        (limit, paths)
    }

    #[test]
    fn the_least_limit_of_all_groups_holds() {
        let (limit, paths) = asked(
            "0::/system.slice/a.service\n",
            &[
                ("/sys/fs/cgroup/system.slice/a.service/memory.max", "max\n"),
                ("/sys/fs/cgroup/system.slice/memory.max", "67108864\n"),
            ],
        );
        assert_eq!(limit, 64 << 20);
        assert_eq!(
            paths,
            [
                "/sys/fs/cgroup/system.slice/a.service/memory.max",
                "/sys/fs/cgroup/system.slice/memory.max",
                "/sys/fs/cgroup/memory.max"
            ]
        );
    }

    #[test]
    fn the_first_version_names_its_controllers() {
        let groups = "12:cpu,cpuacct:/a\n5:hugetlb,memory:/docker/1\n1:name=systemd:/b\n0::/\n";
        let (limit, paths) = asked(
            groups,
            &[("/sys/fs/cgroup/memory/memory.limit_in_bytes", "1048576")],
        );
        assert_eq!(limit, 1 << 20);
        assert_eq!(
            paths,
            [
                "/sys/fs/cgroup/memory/docker/1/memory.limit_in_bytes",
                "/sys/fs/cgroup/memory/docker/memory.limit_in_bytes",
                "/sys/fs/cgroup/memory/memory.limit_in_bytes",
                "/sys/fs/cgroup/memory.max"
            ]
        );
    }

    #[test]
    fn what_cannot_be_read_is_no_limit() {
        let long = format!("0::/{}\n", "x".repeat(2000));
        for groups in ["", "\n", "nonsense", "7", "0::", ":::::", long.as_str()] {
            assert_eq!(asked(groups, &[]).0, usize::MAX, "{groups}");
        }
        assert_eq!(number(b"99999999999999999999999"), Some(usize::MAX));
        assert_eq!(number("max".to_string().as_bytes()), None);
    }
}
