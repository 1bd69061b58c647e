use jiff::civil;
use proptest::prelude::*;

use super::*;
use crate::config::documents::OneOrMany;

fn window(text: &str) -> Window {
    toml::from_str(text).expect("a window")
}

fn schedule(windows: &[&str]) -> Schedule {
    let windows: Vec<_> = windows.iter().map(|text| window(text)).collect();
    Schedule::new(&windows).expect("windows")
}

fn at(text: &str) -> Timestamp {
    text.parse().expect("a time")
}

/// What a schedule says to a host that needs ten minutes, as a person reads it.
fn said(windows: &[&str], now: &str) -> String {
    said_for(windows, now, 600)
}

fn said_for(windows: &[&str], now: &str, need: u64) -> String {
    let now = at(now);
    match schedule(windows).ask(now, Span::seconds(need)) {
        Answer::Open { until: None } => "open".to_owned(),
        Answer::Open { until: Some(until) } => format!("open until {until}"),
        closed @ Answer::Closed { .. } => closed.refusal(now).expect("closed"),
    }
}

const NIGHT: &str = "days = 'Mon-Thu'\nfrom = '01:00'\nto = '04:00'\nzone = 'Europe/Berlin'";
const OVER_MIDNIGHT: &str = "days = 'Fri'\nfrom = '22:00'\nto = '02:00'\nzone = 'UTC'";
const FREEZE: &str = "dates = '2026-12-20..2027-01-02'\nzone = 'UTC'\nkind = 'deny'\nreason = 'year-end freeze'";

#[test]
fn a_host_without_windows_may_always_be_started() {
    assert_eq!(said(&[], "2026-11-21T12:00:00Z"), "open");
}

#[test]
fn a_window_is_open_from_its_first_minute_to_its_last_in_its_own_zone() {
    // Berlin is an hour ahead of UTC in November; the 23rd is a Monday.
    assert_eq!(said(&[NIGHT], "2026-11-21T12:00:00Z"), "outside its window (opens Mon 01:00 Europe/Berlin)");
    assert_eq!(said(&[NIGHT], "2026-11-22T23:59:59Z"), "outside its window (opens Mon 01:00 Europe/Berlin)");
    assert_eq!(said(&[NIGHT], "2026-11-23T00:00:00Z"), "open until 2026-11-23T03:00:00Z");
    assert_eq!(said(&[NIGHT], "2026-11-23T02:50:00Z"), "open until 2026-11-23T03:00:00Z");
    assert_eq!(said(&[NIGHT], "2026-11-23T03:00:00Z"), "outside its window (opens Tue 01:00 Europe/Berlin)");
    // After Thursday it is Monday again.
    assert_eq!(said(&[NIGHT], "2026-11-26T12:00:00Z"), "outside its window (opens Mon 01:00 Europe/Berlin)");
}

#[test]
fn no_host_is_started_that_the_end_of_its_window_could_overtake() {
    assert_eq!(
        said(&[NIGHT], "2026-11-23T02:50:01Z"),
        "too late in its window: may need 10m (opens Tue 01:00 Europe/Berlin)"
    );
    assert_eq!(
        said_for(&[NIGHT], "2026-11-23T00:00:00Z", 4 * 3600),
        "too late in its window: may need 4h (none within a year is long enough)"
    );
}

#[test]
fn a_window_over_midnight_belongs_to_the_day_on_which_it_opens() {
    // The 20th is a Friday.
    assert_eq!(said(&[OVER_MIDNIGHT], "2026-11-20T23:59:00Z"), "open until 2026-11-21T02:00:00Z");
    assert_eq!(said(&[OVER_MIDNIGHT], "2026-11-21T01:00:00Z"), "open until 2026-11-21T02:00:00Z");
    assert_eq!(said(&[OVER_MIDNIGHT], "2026-11-20T01:00:00Z"), "outside its window (opens Fri 22:00 UTC)");
    assert_eq!(said(&[OVER_MIDNIGHT], "2026-11-21T02:00:00Z"), "outside its window (opens Fri 2026-11-27 22:00 UTC)");
}

#[test]
fn windows_that_touch_are_one() {
    let until_midnight = "from = '22:00'\nzone = 'UTC'";
    let from_midnight = "to = '02:00'\nzone = 'UTC'";
    assert_eq!(
        said_for(&[until_midnight, from_midnight], "2026-11-20T22:00:00Z", 4 * 3600),
        "open until 2026-11-21T02:00:00Z"
    );
}

#[test]
fn what_is_denied_wins_over_what_is_allowed_and_says_why() {
    assert_eq!(said(&[FREEZE], "2026-12-19T23:00:00Z"), "open until 2026-12-20T00:00:00Z");
    assert_eq!(
        said(&[FREEZE], "2026-12-24T01:00:00Z"),
        "outside its window: year-end freeze (opens Sun 2027-01-03 00:00 UTC)"
    );
    // The first night after it is Monday the 4th.
    assert_eq!(
        said(&[NIGHT, FREEZE], "2026-12-24T01:00:00Z"),
        "outside its window: year-end freeze (opens Mon 2027-01-04 01:00 Europe/Berlin)"
    );
    let hour = "from = '02:00'\nto = '03:00'\nzone = 'Europe/Berlin'\nkind = 'deny'";
    assert_eq!(said(&[NIGHT, hour], "2026-11-23T00:30:00Z"), "open until 2026-11-23T01:00:00Z");
    assert_eq!(
        said(&[NIGHT, hour], "2026-11-23T01:30:00Z"),
        "outside its window: denied now (opens Mon 03:00 Europe/Berlin)"
    );
}

#[test]
fn a_window_on_dates_alone_opens_on_them_and_never_again() {
    let once = "dates = ['2027-03-01', '2027-06-01']\nfrom = '10:00'\nto = '12:00'\nzone = 'Asia/Kolkata'";
    assert_eq!(said(&[once], "2026-11-21T00:00:00Z"), "outside its window (opens Mon 2027-03-01 10:00 Asia/Kolkata)");
    assert_eq!(said(&[once], "2027-03-01T04:30:00Z"), "open until 2027-03-01T06:30:00Z");
    assert_eq!(said(&[once], "2027-06-02T00:00:00Z"), "outside its window (none within a year is long enough)");
}

#[test]
fn where_the_clocks_go_forward_a_time_that_does_not_come_is_the_moment_of_the_change() {
    // In Berlin 02:00 becomes 03:00 at 01:00 UTC.
    let from_gap = "from = '02:30'\nto = '04:00'\nzone = 'Europe/Berlin'";
    assert_eq!(said(&[from_gap], "2026-03-29T00:59:00Z"), "outside its window (opens Sun 03:00 Europe/Berlin)");
    assert_eq!(said(&[from_gap], "2026-03-29T01:00:00Z"), "open until 2026-03-29T02:00:00Z");
    let to_gap = "from = '01:00'\nto = '02:30'\nzone = 'Europe/Berlin'";
    assert_eq!(said(&[to_gap], "2026-03-29T00:00:00Z"), "open until 2026-03-29T01:00:00Z");
    let in_gap = "from = '02:15'\nto = '02:45'\nzone = 'Europe/Berlin'";
    assert_eq!(said(&[in_gap], "2026-03-29T01:00:00Z"), "outside its window (opens Mon 02:15 Europe/Berlin)");
    // The night is an hour shorter, and counted so.
    let night = "from = '01:00'\nto = '04:00'\nzone = 'Europe/Berlin'";
    assert_eq!(said_for(&[night], "2026-03-29T00:00:00Z", 2 * 3600), "open until 2026-03-29T02:00:00Z");
    assert!(said_for(&[night], "2026-03-29T00:00:00Z", 2 * 3600 + 1).starts_with("too late in its window"));
}

#[test]
fn where_the_clocks_go_back_a_time_that_comes_twice_is_read_so_that_less_is_allowed() {
    // In Berlin 03:00 becomes 02:00 at 01:00 UTC.
    let from_fold = "from = '02:30'\nto = '04:00'\nzone = 'Europe/Berlin'";
    assert_eq!(said(&[from_fold], "2026-10-25T00:30:00Z"), "outside its window (opens Sun 02:30 Europe/Berlin)");
    assert_eq!(said(&[from_fold], "2026-10-25T01:30:00Z"), "open until 2026-10-25T03:00:00Z");
    let to_fold = "from = '01:00'\nto = '02:30'\nzone = 'Europe/Berlin'";
    assert_eq!(said(&[to_fold], "2026-10-24T23:00:00Z"), "open until 2026-10-25T00:30:00Z");
    let denied = "from = '02:30'\nto = '02:45'\nzone = 'Europe/Berlin'\nkind = 'deny'";
    assert_eq!(said(&[denied], "2026-10-25T00:00:00Z"), "open until 2026-10-25T00:30:00Z");
    assert!(said(&[denied], "2026-10-25T01:30:00Z").starts_with("outside its window: denied now"));
    assert!(said(&[denied], "2026-10-25T01:45:00Z").starts_with("open until"));
    // The night is an hour longer.
    let night = "from = '01:00'\nto = '04:00'\nzone = 'Europe/Berlin'";
    assert_eq!(said_for(&[night], "2026-10-24T23:00:00Z", 4 * 3600), "open until 2026-10-25T03:00:00Z");
}

#[test]
fn zones_of_half_and_quarter_hours_and_of_changes_by_half_an_hour_count_as_they_are() {
    let nepal = "from = '01:00'\nto = '02:00'\nzone = 'Asia/Kathmandu'";
    assert_eq!(said(&[nepal], "2026-11-20T19:15:00Z"), "open until 2026-11-20T20:15:00Z");
    // On Lord Howe Island 02:00 becomes 02:30, at 15:30 UTC of the day before.
    let gap = "from = '02:10'\nto = '03:00'\nzone = 'Australia/Lord_Howe'";
    assert_eq!(said(&[gap], "2026-10-03T15:30:00Z"), "open until 2026-10-03T16:00:00Z");
    assert!(said(&[gap], "2026-10-03T15:29:59Z").contains("opens Sun 02:30"));
    // And 02:00 becomes 01:30 at 15:00 UTC.
    let fold = "from = '01:40'\nto = '03:00'\nzone = 'Australia/Lord_Howe'";
    assert!(said(&[fold], "2026-04-04T14:45:00Z").contains("opens Sun 01:40"));
    assert_eq!(said(&[fold], "2026-04-04T15:10:00Z"), "open until 2026-04-04T16:30:00Z");
}

#[test]
fn the_longest_stretch_is_found_and_has_no_end_where_nothing_is_denied() {
    let now = at("2026-11-21T00:00:00Z");
    assert_eq!(schedule(&[]).longest(now), None);
    assert_eq!(schedule(&[FREEZE]).longest(now), None);
    assert_eq!(schedule(&[NIGHT]).longest(now), Some(Duration::from_hours(3)));
    let both = schedule(&[NIGHT, OVER_MIDNIGHT]);
    assert_eq!(both.longest(now), Some(Duration::from_hours(4)));
}

#[test]
fn what_cannot_be_read_is_told_with_its_value() {
    let wrong = Window { zone: "Europe/Berlinn".to_owned(), ..Window::default() };
    let error = Schedule::new(&[wrong]).expect_err("no such zone");
    assert_eq!(error, "`Europe/Berlinn` is no time zone, in the window `at any time Europe/Berlinn`");
}

/// Whether the clock on the wall says that a window is open. Knows nothing of moments that come twice or not at all.
fn wall_says(window: &Window, now: Timestamp) -> bool {
    let local = now.to_zoned(TimeZone::get(&window.zone).expect("a zone")).datetime();
    let (from, to) = (window.opens().expect("a time"), window.closes().expect("a time"));
    let opens_on = |day: Date| {
        let dates = window.parsed_dates().expect("dates");
        window.parsed_days().expect("days").contains(&Day::of(day))
            && (dates.is_empty() || dates.iter().any(|range| range.contains(&day)))
    };
    let over_midnight = to.is_some_and(|to| to <= from);
    let ends = |time: Time| to.is_none_or(|to| time < to);
    let today = opens_on(local.date()) && local.time() >= from && (over_midnight || ends(local.time()));
    let yesterday = local.date().yesterday().expect("a day");
    today || (over_midnight && opens_on(yesterday) && ends(local.time()))
}

fn any_window() -> impl Strategy<Value = Window> {
    let zones = ["UTC", "Europe/Berlin", "America/New_York", "Asia/Kolkata", "Australia/Lord_Howe", "Africa/Cairo"];
    let days = [None, Some("Mon-Thu"), Some("Sat,Sun"), Some("Fri-Mon"), Some("Sun")];
    let dates = [None, None, Some("2026-03-20..2026-04-05"), Some("2026-10-25")];
    let time = || (0..24_u8, prop::sample::select(vec![0_u8, 15, 30, 45])).prop_map(|(h, m)| format!("{h:02}:{m:02}"));
    (
        prop::sample::select(zones.to_vec()),
        prop::sample::select(days.to_vec()),
        prop::sample::select(dates.to_vec()),
        prop::option::of(time()),
        prop::option::of(time()),
        prop::bool::weighted(0.3),
    )
        .prop_map(|(zone, days, dates, from, to, denies)| Window {
            days: days.map(str::to_owned),
            dates: dates.map(|dates| OneOrMany(vec![dates.to_owned()])),
            from,
            to,
            zone: zone.to_owned(),
            kind: if denies { WindowKind::Deny } else { WindowKind::Allow },
            ahead: false,
            reason: None,
        })
}

/// Moments around the changes of the clocks in 2026, and others.
fn any_moment() -> impl Strategy<Value = Timestamp> {
    let near = [
        "2026-03-29T01:00:00Z",
        "2026-10-25T01:00:00Z",
        "2026-03-08T07:00:00Z",
        "2026-10-03T15:30:00Z",
        "2026-04-23T22:00:00Z",
    ];
    let change = prop::sample::select(near.to_vec()).prop_map(at);
    let any = Just(at("2026-01-01T00:00:00Z"));
    prop_oneof![(change, -200_000_i64..200_000), (any, 0_i64..31_000_000)]
        .prop_map(|(base, seconds)| base.saturating_add(seconds.seconds()).expect("in range"))
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn whatever_the_clock_what_is_started_lies_wholly_in_allowed_time(
        windows in prop::collection::vec(any_window(), 1..4),
        now in any_moment(),
        need in 0_u64..20_000,
    ) {
        let schedule = Schedule::new(&windows).expect("windows");
        let free = |moment: Timestamp| {
            let of = |kind| windows.iter().filter(move |window| window.kind == kind);
            let mut allowed = of(WindowKind::Allow).peekable();
            (allowed.peek().is_none() || allowed.any(|window| wall_says(window, moment)))
                && !of(WindowKind::Deny).any(|window| wall_says(window, moment))
        };
        let start = match schedule.ask(now, Span::seconds(need)) {
            Answer::Open { .. } => Some(now),
            Answer::Closed { opens, .. } => {
                prop_assert!(opens.as_ref().is_none_or(|opens| opens.timestamp() > now));
                opens.map(|opens| opens.timestamp())
            }
        };
        // Both a start now and the one that is promised.
        if let Some(start) = start {
            let mut passed = 0;
            while passed < need.max(1) {
                let moment = start.saturating_add(i64::try_from(passed).expect("small").seconds()).expect("in range");
                prop_assert!(free(moment), "{moment} is not free, and the start was {start}");
                passed += 60;
            }
        }
    }

    #[test]
    fn where_the_clocks_do_not_change_no_free_time_is_refused(
        mut windows in prop::collection::vec(any_window(), 1..4),
        now in any_moment(),
    ) {
        for window in &mut windows {
            "Asia/Kolkata".clone_into(&mut window.zone);
        }
        let schedule = Schedule::new(&windows).expect("windows");
        let allows = windows.iter().any(|window| window.kind == WindowKind::Allow);
        let free = windows.iter().any(|window| window.kind == WindowKind::Allow && wall_says(window, now)) || !allows;
        let free = free && !windows.iter().any(|window| window.kind == WindowKind::Deny && wall_says(window, now));
        let open = matches!(schedule.ask(now, Span::seconds(0)), Answer::Open { .. });
        prop_assert_eq!(open, free);
    }
}

#[test]
fn the_days_of_the_calendar_are_those_of_the_windows() {
    assert_eq!(Day::of(civil::date(2026, 11, 23)), Day::Mon);
    assert_eq!(Day::of(civil::date(2026, 11, 29)), Day::Sun);
}
