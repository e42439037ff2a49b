//! Date formats of the logs, with English names in every locale.
use std::fmt::Write;

const MONTHS: [&str; 12] = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
const DAYS: [&str; 7] = ["Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat"];

/// A time in the local time zone, in the units of `struct tm` (tm(3type)).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LocalTime {
    /// Full year, as 2026.
    pub year: i32,
    /// 0 is January.
    pub month: u8,
    /// 1 to 31.
    pub day: u8,
    /// 0 is Sunday.
    pub weekday: u8,
    /// 0 to 23.
    pub hour: u8,
    /// 0 to 59.
    pub minute: u8,
    /// 0 to 60.
    pub second: u8,
    /// Seconds east of UTC.
    pub offset: i32,
}

impl LocalTime {
    /// Appends `23/Nov/2026:07:36:59 +0000`.
    pub fn push_log(&self, out: &mut String) {
        let LocalTime { year, day, hour, minute, second, .. } = self;
        let sign = if self.offset < 0 { '-' } else { '+' };
        let minutes = self.offset.unsigned_abs() / 60;
        let (zone_hours, zone_minutes) = (minutes / 60, minutes % 60);
        let month = self.month_name();
        // writing to a String never fails
        let _ = write!(
            out,
            "{day:02}/{month}/{year}:{hour:02}:{minute:02}:{second:02} {sign}{zone_hours:02}{zone_minutes:02}"
        );
    }

    /// Appends `Mon Nov 23 07:36:59 2026`, the form of ctime(3).
    pub fn push_ctime(&self, out: &mut String) {
        let LocalTime { year, day, hour, minute, second, .. } = self;
        let weekday = DAYS.get(usize::from(self.weekday)).copied().unwrap_or("???");
        let month = self.month_name();
        let _ = write!(out, "{weekday} {month} {day:2} {hour:02}:{minute:02}:{second:02} {year}");
    }

    fn month_name(&self) -> &'static str {
        MONTHS.get(usize::from(self.month)).copied().unwrap_or("???")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_formats() {
        let time =
            |offset| LocalTime { year: 2026, month: 10, day: 3, weekday: 2, hour: 7, minute: 6, second: 9, offset };
        for (offset, text) in [
            (0, "03/Nov/2026:07:06:09 +0000"),
            (19_800, "03/Nov/2026:07:06:09 +0530"),
            (-12_600, "03/Nov/2026:07:06:09 -0330"),
        ] {
            let mut out = String::new();
            time(offset).push_log(&mut out);
            assert_eq!(out, text);
        }
        let mut out = String::new();
        time(0).push_ctime(&mut out);
        assert_eq!(out, "Tue Nov  3 07:06:09 2026");
    }
}
