//! The resources that the process uses, from `/proc/self`.

use std::{fs, io};

use nix::{
    sys::resource::{Resource, getrlimit},
    unistd::{SysconfVar, sysconf},
};

use super::Page;

/// The resources in use at one moment; values that cannot be read are left out of the page.
#[derive(Debug, Default)]
pub struct ProcessUse {
    pub cpu_seconds: Option<f64>,
    pub start_seconds: Option<f64>,
    virtual_bytes: Option<u64>,
    max_virtual_bytes: Option<u64>,
    pub resident_bytes: Option<u64>,
    open_files: Option<usize>,
    max_files: Option<u64>,
}

impl ProcessUse {
    pub fn read() -> Self {
        Self {
            open_files: fs::read_dir("/proc/self/fd")
                // The listing itself is one of them.
                .map(|files| files.count().saturating_sub(1))
                .ok(),
            max_files: getrlimit(Resource::RLIMIT_NOFILE)
                .map(|(soft, _)| soft)
                .ok(),
            max_virtual_bytes: getrlimit(Resource::RLIMIT_AS).map(|(soft, _)| soft).ok(),
            ..Self::read_without_files()
        }
    }

    /// Reads all but the number of open files, of which there may be thousands.
    pub fn read_without_files() -> Self {
        let mut usage = Self::default();
        if let Ok(stat) = fs::read_to_string("/proc/self/stat") {
            let booted_seconds = boot_time().ok().flatten();
            // What cannot be parsed is left out.
            let _ = usage.take_stat(&stat, booted_seconds);
        }
        usage
    }

    /// `proc_pid_stat(5)`: fields are counted from the end of the name, which may contain anything.
    fn take_stat(&mut self, stat: &str, booted_seconds: Option<f64>) -> Option<()> {
        const STATE: usize = 3;
        const UTIME: usize = 14;
        const STIME: usize = 15;
        const START_TIME: usize = 22;
        const VSIZE: usize = 23;
        const RSS: usize = 24;
        let (_, after_name) = stat.rsplit_once(')')?;
        let fields: Vec<&str> = after_name.split_ascii_whitespace().collect();
        let field = |number: usize| fields.get(number - STATE)?.parse::<u64>().ok();
        let ticks_per_second = positive(SysconfVar::CLK_TCK)?;
        let seconds = |ticks: u64| ticks as f64 / ticks_per_second as f64;
        self.cpu_seconds = Some(seconds(field(UTIME)? + field(STIME)?));
        self.start_seconds = booted_seconds
            .zip(field(START_TIME))
            .map(|(booted, ticks)| booted + seconds(ticks));
        self.virtual_bytes = field(VSIZE);
        self.resident_bytes = Some(field(RSS)? * positive(SysconfVar::PAGE_SIZE)?);
        Some(())
    }

    pub fn write(&self, page: &mut Page) {
        if let Some(seconds) = self.cpu_seconds {
            let help = "Total user and system CPU time spent in seconds.";
            page.counter("process_cpu_seconds_total", help, seconds);
        }
        if let Some(files) = self.max_files {
            let help = "Maximum number of open file descriptors.";
            page.gauge("process_max_fds", help, files);
            page.gauge("os_fd_limit", "The file descriptor limit.", files);
        }
        if let Some(files) = self.open_files {
            let help = "Number of open file descriptors.";
            page.gauge("process_open_fds", help, files);
            let help = "The number of used file descriptors.";
            page.gauge("os_fd_used", help, files);
        }
        if let Some(bytes) = self.resident_bytes {
            let help = "Resident memory size in bytes.";
            page.gauge("process_resident_memory_bytes", help, bytes);
        }
        if let Some(bytes) = self.virtual_bytes {
            let help = "Virtual memory size in bytes.";
            page.gauge("process_virtual_memory_bytes", help, bytes);
        }
        if let Some(bytes) = self.max_virtual_bytes {
            let help = "Maximum amount of virtual memory available in bytes.";
            page.gauge("process_virtual_memory_max_bytes", help, bytes);
        }
        if let Some(seconds) = self.start_seconds {
            let help = "Start time of the process since unix epoch in seconds.";
            page.gauge("process_start_time_seconds", help, seconds);
        }
    }
}

fn positive(variable: SysconfVar) -> Option<u64> {
    sysconf(variable).ok().flatten()?.try_into().ok()
}

/// Returns the time of the boot, in seconds since the epoch.
fn boot_time() -> io::Result<Option<f64>> {
    let stat = fs::read_to_string("/proc/stat")?;
    let line = stat.lines().find_map(|line| line.strip_prefix("btime "));
    Ok(line.and_then(|seconds| seconds.trim().parse().ok()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_has_used_something() {
        let usage = ProcessUse::read();
        assert!(usage.resident_bytes.unwrap() > 100_000);
        assert!(usage.virtual_bytes > usage.resident_bytes);
        assert!(usage.open_files.unwrap() >= 3);
        assert!(usage.max_files.unwrap() >= 64);
        // After 2020, so the boot time is in it.
        assert!(usage.start_seconds.unwrap() > 1_577_836_800.0);
        assert!(usage.cpu_seconds.is_some());
    }

    #[test]
    fn a_name_may_contain_anything() {
        let stat = "7 (a) b (c) S 1 2 3 4 5 6 7 8 9 10 100 200 0 0 0 0 1 0 300 4096 2 rest";
        let mut usage = ProcessUse::default();
        usage.take_stat(stat, Some(1000.0)).unwrap();
        let ticks = positive(SysconfVar::CLK_TCK).unwrap() as f64;
        assert_eq!(usage.cpu_seconds, Some(300.0 / ticks));
        assert_eq!(usage.start_seconds, Some(1000.0 + 300.0 / ticks));
        assert_eq!(usage.virtual_bytes, Some(4096));
    }

    #[test]
    fn a_short_line_leaves_things_out() {
        let mut usage = ProcessUse::default();
        assert_eq!(usage.take_stat("7 (a) S 1 2", None), None);
        assert!(usage.cpu_seconds.is_none());
    }
}
