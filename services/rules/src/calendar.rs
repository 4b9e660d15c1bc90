//! Business time: when a span that counts only in open hours ends.
//!
//! In: weekly hours in a time zone, holidays, a start and a span. Out: the end. Never: the wall clock.
use std::time::Duration;

use jiff::{
    SignedDuration, Timestamp,
    civil::{Date, Time},
    tz::TimeZone,
};

/// No calendar is open so rarely that a span needs longer than this many days; a fence against endless search.
const HORIZON_DAYS: u32 = 3660;

/// Open hours.
#[derive(Debug, Clone)]
pub struct Calendar {
    /// None: always open.
    hours: Option<Hours>,
}

#[derive(Debug, Clone)]
struct Hours {
    zone: TimeZone,
    /// By day from Monday: opening and closing in minutes from midnight, in order and apart from each other.
    week: [Vec<(u16, u16)>; 7],
    holidays: Vec<Holiday>,
}

/// A closed day.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Holiday {
    /// One date.
    Once(Date),
    /// A month and day of each year.
    Yearly(i8, i8),
}

impl Calendar {
    /// Open day and night.
    pub fn always() -> Self {
        Calendar { hours: None }
    }

    /// Open at these hours.
    pub fn open(zone: TimeZone, week: [Vec<(u16, u16)>; 7], holidays: Vec<Holiday>) -> Self {
        Calendar { hours: Some(Hours { zone, week, holidays }) }
    }

    /// The end of a span of open time that begins at `from`.
    pub fn deadline(&self, from: Timestamp, span: Duration) -> Timestamp {
        let span = SignedDuration::try_from(span).unwrap_or(SignedDuration::MAX);
        let Some(hours) = &self.hours else { return from.checked_add(span).unwrap_or(Timestamp::MAX) };
        let mut left = span;
        let mut date = hours.zone.to_datetime(from).date();
        for _ in 0..HORIZON_DAYS {
            if !hours.closed(date) {
                for (open, close) in &hours.week[date.weekday().to_monday_zero_offset() as usize] {
                    let begins = hours.instant(date, *open).max(from);
                    let ends = hours.instant(date, *close);
                    let length = ends.duration_since(begins);
                    if length <= SignedDuration::ZERO {
                        continue;
                    }
                    if length >= left {
                        return begins.checked_add(left).unwrap_or(Timestamp::MAX);
                    }
                    left -= length;
                }
            }
            let Ok(next) = date.tomorrow() else { break };
            date = next;
        }
        Timestamp::MAX
    }
}

impl Hours {
    fn closed(&self, date: Date) -> bool {
        self.holidays.iter().any(|h| match h {
            Holiday::Once(day) => *day == date,
            Holiday::Yearly(month, day) => (*month, *day) == (date.month(), date.day()),
        })
    }

    /// The instant of a wall-clock minute; a time that the clocks skip moves forward with them.
    fn instant(&self, date: Date, minute: u16) -> Timestamp {
        let day = if minute == DAY { date.tomorrow().unwrap_or(date) } else { date };
        let minute = minute % DAY;
        let time = Time::constant((minute / 60) as i8, (minute % 60) as i8, 0, 0);
        self.zone.to_timestamp(day.to_datetime(time)).unwrap_or(Timestamp::MAX)
    }
}

/// Minutes of a day; also the closing time `24:00`.
const DAY: u16 = 1440;

/// Reads `08:00-20:00`.
pub fn parse_span(text: &str) -> Option<(u16, u16)> {
    let minute = |t: &str| {
        let (h, m) = t.trim().split_once(':')?;
        let (h, m): (u16, u16) = (h.parse().ok()?, m.parse().ok()?);
        (m < 60 && h * 60 + m <= DAY).then_some(h * 60 + m)
    };
    let (open, close) = text.split_once('-')?;
    let (open, close) = (minute(open)?, minute(close)?);
    (open < close).then_some((open, close))
}

/// Reads `12-25` (each year) or `2027-03-29`.
pub fn parse_holiday(text: &str) -> Option<Holiday> {
    if let Ok(date) = text.parse::<Date>() {
        return Some(Holiday::Once(date));
    }
    let (month, day) = text.split_once('-')?;
    let (month, day) = (month.parse().ok()?, day.parse().ok()?);
    // 2024 is a leap year: 02-29 is a day.
    Date::new(2024, month, day).ok().map(|_| Holiday::Yearly(month, day))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn office() -> Calendar {
        let day = vec![(8 * 60, 20 * 60)];
        let week = [day.clone(), day.clone(), day.clone(), day.clone(), day, vec![], vec![]];
        let holidays = ["12-25", "12-26", "2027-03-29"].into_iter().filter_map(parse_holiday).collect();
        Calendar::open(TimeZone::get("Europe/Amsterdam").expect("bundled"), week, holidays)
    }

    #[test]
    fn only_open_time_counts() {
        let hours = |h: u64| Duration::from_secs(h * 3600);
        let rows = [
            ("within a day", "2026-11-23T09:00:00Z", 4, "2026-11-23T13:00:00Z"),
            ("before opening it begins at opening", "2026-11-23T03:00:00Z", 1, "2026-11-23T08:00:00Z"),
            ("over the night", "2026-11-23T18:00:00Z", 4, "2026-11-24T10:00:00Z"),
            ("over the weekend", "2026-11-20T18:00:00Z", 4, "2026-11-23T10:00:00Z"),
            ("begun on a Sunday", "2026-11-22T12:00:00Z", 1, "2026-11-23T08:00:00Z"),
            ("over Christmas, Friday and Saturday, and the Sunday", "2026-12-24T18:00:00Z", 4, "2026-12-28T10:00:00Z"),
            ("over Easter Monday and the change to summer time", "2027-03-26T18:00:00Z", 4, "2027-03-30T09:00:00Z"),
            ("over the change to winter time", "2026-10-23T17:00:00Z", 2, "2026-10-26T08:00:00Z"),
            ("exactly at closing", "2026-11-23T18:00:00Z", 1, "2026-11-23T19:00:00Z"),
        ];
        for (name, from, span, to) in rows {
            let end = office().deadline(from.parse().expect("a time"), hours(span));
            assert_eq!(end, to.parse::<Timestamp>().expect("a time"), "{name}");
        }
    }

    #[test]
    fn an_hour_that_the_clocks_skip_is_not_counted_and_one_that_comes_twice_is_counted_twice() {
        let night: [Vec<(u16, u16)>; 7] = std::array::from_fn(|_| vec![(60, 240)]);
        let zone = TimeZone::get("Europe/Amsterdam").expect("bundled");
        let calendar = Calendar::open(zone, night, vec![]);
        // 01:00 to 04:00 lasts two hours on March 29, 2026, and four on October 25.
        let end =
            |from: &str| calendar.deadline(from.parse().expect("a time"), Duration::from_secs(3 * 3600)).to_string();
        assert_eq!(end("2026-03-29T00:00:00Z"), "2026-03-30T00:00:00Z");
        assert_eq!(end("2026-10-24T23:00:00Z"), "2026-10-25T02:00:00Z");
    }

    #[test]
    fn always_is_plain_time() {
        let from: Timestamp = "2026-12-25T03:00:00Z".parse().expect("a time");
        assert_eq!(Calendar::always().deadline(from, Duration::from_secs(900)).to_string(), "2026-12-25T03:15:00Z");
    }

    #[test]
    fn spans_and_holidays_are_read_strictly() {
        assert_eq!(parse_span("00:00-24:00"), Some((0, 1440)));
        for wrong in ["20:00-08:00", "8-20", "08:00-24:01", "08:60-09:00", ""] {
            assert_eq!(parse_span(wrong), None, "{wrong}");
        }
        assert_eq!(parse_holiday("02-29"), Some(Holiday::Yearly(2, 29)));
        for wrong in ["02-30", "Christmas", "2026-13-01"] {
            assert_eq!(parse_holiday(wrong), None, "{wrong}");
        }
    }
}
