//! `%START_TIME%`: wall-clock time in the patterns that Envoy takes, in UTC.
//!
//! The pattern is cut into parts once; writing a time is arithmetic and digits, with no calendar
//! library and no allocation.

use std::time::{SystemTime, UNIX_EPOCH};

/// A time pattern, cut into parts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct TimeFormat(Box<[Part]>);

#[derive(Clone, Debug, PartialEq, Eq)]
enum Part {
    Literal(Box<str>),
    /// `2026-11-24T22:15:18.418Z`, the default.
    Iso,
    Year,
    YearOfCentury,
    Month,
    Day,
    DaySpaced,
    DayOfYear,
    Hour,
    Hour12,
    Minute,
    Second,
    /// `%E3S`: seconds with that many decimals.
    SecondWith(usize),
    AmPm,
    Weekday(Name),
    MonthName(Name),
    /// `%s`: seconds since 1970.
    Epoch,
    /// `%3f`: that many digits of the second's fraction.
    Fraction(usize),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Name {
    Short,
    Long,
}

const DAYS: [&str; 7] =
    ["Sunday", "Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday"];
const MONTHS: [&str; 12] = [
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
];

impl TimeFormat {
    /// `%Y-%m-%dT%H:%M:%E3SZ`.
    pub(crate) fn iso() -> Self {
        Self(Box::new([Part::Iso]))
    }

    /// Cuts a pattern of `strftime` with Envoy's `%s`, `%f`, `%1f` to `%9f` and `%E3S`. What is no
    /// specifier stands for itself.
    pub(crate) fn parse(pattern: &str) -> Self {
        let mut parts = Vec::new();
        let mut rest = pattern;
        while let Some(at) = rest.find('%') {
            push_literal(&mut parts, &rest[..at]);
            let (part, taken) = specifier(&rest[at + 1..]);
            match part {
                Some(mut part) => parts.append(&mut part),
                None => push_literal(&mut parts, &rest[at..=at + taken]),
            }
            rest = &rest[at + 1 + taken..];
        }
        push_literal(&mut parts, rest);
        Self(parts.into())
    }

    /// Nothing that it prints needs an escape in JSON.
    pub(crate) fn is_plain(&self) -> bool {
        let plain = |text: &str| text.bytes().all(|b| (0x20..0x7f).contains(&b) && b != b'"');
        self.0.iter().all(|part| match part {
            Part::Literal(text) => plain(text) && !text.contains('\\'),
            _ => true,
        })
    }

    pub(crate) fn write(&self, time: SystemTime, out: &mut Vec<u8>) {
        let moment = Moment::of(time);
        for part in &self.0 {
            moment.write(part, out);
        }
    }
}

fn push_literal(parts: &mut Vec<Part>, text: &str) {
    match parts.last_mut() {
        Some(Part::Literal(before)) => *before = format!("{before}{text}").into(),
        _ if text.is_empty() => {}
        _ => parts.push(Part::Literal(text.into())),
    }
}

/// The parts of a specifier and how many bytes after `%` it takes.
fn specifier(rest: &str) -> (Option<Vec<Part>>, usize) {
    let bytes = rest.as_bytes();
    match *bytes {
        [b'E', digit @ b'0'..=b'9', b'S', ..] => {
            (Some(vec![Part::SecondWith(usize::from(digit - b'0'))]), 3)
        }
        [digit @ b'1'..=b'9', b'f', ..] => {
            (Some(vec![Part::Fraction(usize::from(digit - b'0'))]), 2)
        }
        [b'1'..=b'9', b's', ..] => (Some(vec![Part::Epoch]), 2),
        [letter, ..] if letter.is_ascii() => (simple(letter), 1),
        _ => (None, 0),
    }
}

fn simple(letter: u8) -> Option<Vec<Part>> {
    let text = |text: &str| Part::Literal(text.into());
    Some(match letter {
        b'Y' => vec![Part::Year],
        b'y' => vec![Part::YearOfCentury],
        b'm' => vec![Part::Month],
        b'd' => vec![Part::Day],
        b'e' => vec![Part::DaySpaced],
        b'j' => vec![Part::DayOfYear],
        b'H' => vec![Part::Hour],
        b'I' => vec![Part::Hour12],
        b'M' => vec![Part::Minute],
        b'S' => vec![Part::Second],
        b'p' => vec![Part::AmPm],
        b'a' => vec![Part::Weekday(Name::Short)],
        b'A' => vec![Part::Weekday(Name::Long)],
        b'b' | b'h' => vec![Part::MonthName(Name::Short)],
        b'B' => vec![Part::MonthName(Name::Long)],
        b's' => vec![Part::Epoch],
        b'f' => vec![Part::Fraction(9)],
        b'z' => vec![text("+0000")],
        b'Z' => vec![text("UTC")],
        b'%' => vec![text("%")],
        b'F' => vec![Part::Year, text("-"), Part::Month, text("-"), Part::Day],
        b'T' => vec![Part::Hour, text(":"), Part::Minute, text(":"), Part::Second],
        b'R' => vec![Part::Hour, text(":"), Part::Minute],
        b'D' => vec![Part::Month, text("/"), Part::Day, text("/"), Part::YearOfCentury],
        _ => return None,
    })
}

/// A time, taken apart.
struct Moment {
    epoch: u64,
    nanos: u32,
    year: u64,
    month: u64,
    day: u64,
    /// Days since 1970-01-01.
    days: u64,
}

impl Moment {
    fn of(time: SystemTime) -> Self {
        // A clock before 1970 is printed as 1970.
        let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
        let days = since.as_secs() / 86_400;
        let (year, month, day) = civil(days);
        Self { epoch: since.as_secs(), nanos: since.subsec_nanos(), year, month, day, days }
    }

    fn write(&self, part: &Part, out: &mut Vec<u8>) {
        let second_of_day = self.epoch % 86_400;
        let (hour, minute) = (second_of_day / 3600, second_of_day / 60 % 60);
        let second = second_of_day % 60;
        match part {
            Part::Literal(text) => out.extend_from_slice(text.as_bytes()),
            Part::Iso => out.extend_from_slice(&self.iso(hour, minute, second)),
            Part::Year => digits(out, self.year, 4),
            Part::YearOfCentury => digits(out, self.year % 100, 2),
            Part::Month => digits(out, self.month, 2),
            Part::Day => digits(out, self.day, 2),
            Part::DaySpaced if self.day < 10 => out.extend([b' ', b'0' + low_digit(self.day)]),
            Part::DaySpaced => digits(out, self.day, 2),
            Part::DayOfYear => digits(out, self.day_of_year(), 3),
            Part::Hour => digits(out, hour, 2),
            Part::Hour12 => digits(out, (hour + 11) % 12 + 1, 2),
            Part::Minute => digits(out, minute, 2),
            Part::Second => digits(out, second, 2),
            Part::SecondWith(decimals) => self.second_with(out, second, *decimals),
            Part::AmPm => out.extend_from_slice(if hour < 12 { b"AM" } else { b"PM" }),
            Part::Weekday(length) => named(out, &DAYS, (self.days + 4) % 7, *length),
            Part::MonthName(length) => named(out, &MONTHS, self.month - 1, *length),
            Part::Epoch => out.extend_from_slice(self.epoch.to_string().as_bytes()),
            Part::Fraction(decimals) => self.fraction(out, *decimals),
        }
    }

    /// The default pattern, in one piece since nearly every line has it.
    fn iso(&self, hour: u64, minute: u64, second: u64) -> [u8; 24] {
        let mut text = *b"0000-00-00T00:00:00.000Z";
        let mut put = |at: usize, width: usize, number: u64| {
            let mut rest = u32::try_from(number).unwrap_or_default();
            for digit in text[at..at + width].iter_mut().rev() {
                *digit = b'0' + u8::try_from(rest % 10).unwrap_or_default();
                rest /= 10;
            }
        };
        put(0, 4, self.year);
        put(5, 2, self.month);
        put(8, 2, self.day);
        put(11, 2, hour);
        put(14, 2, minute);
        put(17, 2, second);
        put(20, 3, u64::from(self.nanos / 1_000_000));
        text
    }

    fn second_with(&self, out: &mut Vec<u8>, second: u64, decimals: usize) {
        digits(out, second, 2);
        if decimals > 0 {
            out.push(b'.');
            self.fraction(out, decimals);
        }
    }

    fn fraction(&self, out: &mut Vec<u8>, decimals: usize) {
        let drop = u32::try_from(9 - decimals.min(9)).unwrap_or_default();
        digits(out, u64::from(self.nanos / 10u32.pow(drop)), decimals.min(9));
    }

    fn day_of_year(&self) -> u64 {
        const BEFORE: [u64; 12] = [0, 31, 59, 90, 120, 151, 181, 212, 243, 273, 304, 334];
        let year = self.year;
        let leap =
            year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400));
        let before = BEFORE[usize::try_from(self.month - 1).unwrap_or_default()];
        before + self.day + u64::from(leap && self.month > 2)
    }
}

/// Year, month and day of a day counted from 1970-01-01, in the proleptic Gregorian calendar: eras
/// of 400 years that begin in March, so that the leap day is the last of a year.
const fn civil(days: u64) -> (u64, u64, u64) {
    let shifted = days + 719_468;
    let era = shifted / 146_097;
    let of_era = shifted % 146_097;
    let year_of_era = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * of_year + 2) / 153;
    let day = of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
    let year = year_of_era + era * 400 + (month <= 2) as u64;
    (year, month, day)
}

fn low_digit(number: u64) -> u8 {
    u8::try_from(number % 10).unwrap_or_default()
}

fn digits(out: &mut Vec<u8>, number: u64, width: usize) {
    let start = out.len();
    out.resize(start + width, b'0');
    let mut rest = number;
    for at in (start..start + width).rev() {
        out[at] = b'0' + low_digit(rest);
        rest /= 10;
    }
}

fn named(out: &mut Vec<u8>, names: &[&str], at: u64, length: Name) {
    let name = names[usize::try_from(at).unwrap_or_default() % names.len()];
    out.extend_from_slice(match length {
        Name::Short => &name.as_bytes()[..3],
        Name::Long => name.as_bytes(),
    });
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, UNIX_EPOCH};

    use super::TimeFormat;

    fn at(pattern: &str, seconds: u64, nanos: u32) -> String {
        let mut out = Vec::new();
        let time = UNIX_EPOCH + Duration::new(seconds, nanos);
        TimeFormat::parse(pattern).write(time, &mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn patterns_print_what_envoy_prints() {
        // The right sides are a line that Envoy 1.40 wrote.
        let now = |pattern| at(pattern, 1_795_559_830, 122_699_000);
        assert_eq!(now("%s.%3f"), "1795559830.122");
        assert_eq!(now("%Y/%m/%dT%H:%M:%S%z %s"), "2026/11/24T22:37:10+0000 1795559830");
        assert_eq!(now("%f"), "122699000");
        assert_eq!(now("%1f_%2f_%4f_%7f_%9f"), "1_12_1226_1226990_122699000");
        assert_eq!(
            now("%b.%d %H:%M:%E3S %j %a %e %I %p %y %Z %% %q %3s %F %T"),
            "Nov.24 22:37:10.122 328 Tue 24 10 PM 26 UTC % %q 1795559830 2026-11-24 22:37:10"
        );
    }

    #[test]
    fn dates_around_leap_days_are_right() {
        assert_eq!(at("%F %j", 951_782_400, 0), "2000-02-29 060");
        assert_eq!(at("%F %j", 1_709_251_199, 0), "2024-02-29 060");
        assert_eq!(at("%F %j %A", 4_107_542_400, 0), "2100-03-01 060 Monday");
        assert_eq!(at("%F %T", 0, 0), "1970-01-01 00:00:00");
    }

    #[test]
    fn the_default_is_iso_8601_with_milliseconds() {
        let mut out = Vec::new();
        let time = UNIX_EPOCH + Duration::new(1_795_558_518, 418_999_999);
        TimeFormat::iso().write(time, &mut out);
        assert_eq!(out, b"2026-11-24T22:15:18.418Z");
    }
}
