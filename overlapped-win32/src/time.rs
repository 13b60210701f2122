//! Clocks and counters.

use std::ffi::{c_int, c_long};
use std::mem::MaybeUninit;

use crate::boundary::boundary;
use crate::types::{BOOL, Code, DWORD, FALSE, HANDLE, Outcome, TRUE};

/// `SYSTEMTIME`.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct SYSTEMTIME {
    year: u16,
    month: u16,
    day_of_week: u16,
    day: u16,
    hour: u16,
    minute: u16,
    second: u16,
    milliseconds: u16,
}

/// `FILETIME`: two halves, which need not be aligned as the whole would have to be.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct FILETIME {
    low: DWORD,
    high: DWORD,
}

const _: () = assert!(size_of::<SYSTEMTIME>() == 16 && size_of::<FILETIME>() == 8 && align_of::<FILETIME>() == 4);

/// Units of a `FILETIME`, 100 ns each, from 1601 to 1970.
const UNTIL_1970: i64 = 116_444_736_000_000_000;
const PER_SECOND: i64 = 10_000_000;

impl FILETIME {
    fn of(units: i64) -> Self {
        Self { low: units as DWORD, high: (units >> 32) as DWORD }
    }

    fn units(self) -> i64 {
        i64::from(self.high) << 32 | i64::from(self.low)
    }
}

/// A clock of the kernel's, in units of 100 ns.
fn clock(which: c_int) -> i64 {
    let mut time = MaybeUninit::<libc::timespec>::uninit();
    // SAFETY: the kernel fills the place; these clocks are always there.
    let time = unsafe {
        libc::clock_gettime(which, time.as_mut_ptr());
        time.assume_init()
    };
    time.tv_sec as i64 * PER_SECOND + time.tv_nsec as i64 / 100
}

fn now() -> i64 {
    clock(libc::CLOCK_REALTIME) + UNTIL_1970
}

/// The parts of a time, which `convert` finds: `gmtime_r` or `localtime_r`.
fn parts(
    units: i64,
    convert: unsafe extern "C" fn(*const libc::time_t, *mut libc::tm) -> *mut libc::tm,
) -> Outcome<SYSTEMTIME> {
    let seconds = (units - UNTIL_1970).div_euclid(PER_SECOND) as libc::time_t;
    let mut tm = MaybeUninit::<libc::tm>::uninit();
    // SAFETY: both places are ours; a result means that it is filled.
    let tm = unsafe {
        if convert(&seconds, tm.as_mut_ptr()).is_null() {
            return Err(Code::INVALID_PARAMETER);
        }
        tm.assume_init()
    };
    Ok(SYSTEMTIME {
        year: (tm.tm_year + 1900) as u16,
        month: tm.tm_mon as u16 + 1,
        day_of_week: tm.tm_wday as u16,
        day: tm.tm_mday as u16,
        hour: tm.tm_hour as u16,
        minute: tm.tm_min as u16,
        second: tm.tm_sec.min(59) as u16,
        milliseconds: ((units - UNTIL_1970).rem_euclid(PER_SECOND) / 10_000) as u16,
    })
}

/// Days since 1970 of a day of the Gregorian calendar, by counting from March 1st of the year 0.
fn days(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let month = (month + 9) % 12;
    let leap_days = year.div_euclid(4) - year.div_euclid(100) + year.div_euclid(400);
    year * 365 + leap_days + (month * 153 + 2) / 5 + day - 1 - 719_468
}

fn days_in(year: u16, month: u16) -> u16 {
    match month {
        4 | 6 | 9 | 11 => 30,
        2 if year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400)) => 29,
        2 => 28,
        _ => 31,
    }
}

fn units(time: &SYSTEMTIME) -> Outcome<i64> {
    let valid = (1601..=30827).contains(&time.year)
        && (1..=12).contains(&time.month)
        && (1..=days_in(time.year, time.month)).contains(&time.day)
        && time.hour < 24
        && time.minute < 60
        && time.second < 60
        && time.milliseconds < 1000;
    if !valid {
        return Err(Code::INVALID_PARAMETER);
    }
    let days = days(time.year.into(), time.month.into(), time.day.into());
    let seconds = ((days * 24 + i64::from(time.hour)) * 60 + i64::from(time.minute)) * 60 + i64::from(time.second);
    Ok(seconds * PER_SECOND + i64::from(time.milliseconds) * 10_000 + UNTIL_1970)
}

/// Writes through a pointer of the caller's.
///
/// # Safety
/// `to` is null, or the caller's to write.
unsafe fn put<T>(to: *mut T, value: T) {
    if !to.is_null() {
        // SAFETY: as above.
        unsafe { to.write(value) };
    }
}

boundary! {
    /// `GetTickCount`: milliseconds since the system started; it begins again after 49.7 days.
    fn ovl_GetTickCount() -> DWORD {
        (clock(libc::CLOCK_BOOTTIME) / 10_000) as DWORD
    }

    /// `GetTickCount64`.
    fn ovl_GetTickCount64() -> u64 {
        (clock(libc::CLOCK_BOOTTIME) / 10_000) as u64
    }

    /// `timeGetTime`.
    fn ovl_timeGetTime() -> DWORD {
        (clock(libc::CLOCK_BOOTTIME) / 10_000) as DWORD
    }

    /// `timeBeginPeriod`: clocks are exact here.
    fn ovl_timeBeginPeriod(_period: u32) -> u32 {
        0
    }

    /// `timeEndPeriod`.
    fn ovl_timeEndPeriod(_period: u32) -> u32 {
        0
    }

    /// `QueryPerformanceCounter`: 10 million a second, as on Windows.
    fn ovl_QueryPerformanceCounter(count: *mut i64) -> BOOL, else (FALSE) {
        if count.is_null() {
            return Err(Code::NOACCESS);
        }
        // SAFETY: the caller's.
        unsafe { count.write_unaligned(clock(libc::CLOCK_MONOTONIC)) };
        Ok(TRUE)
    }

    /// `QueryPerformanceFrequency`.
    fn ovl_QueryPerformanceFrequency(frequency: *mut i64) -> BOOL, else (FALSE) {
        if frequency.is_null() {
            return Err(Code::NOACCESS);
        }
        // SAFETY: the caller's.
        unsafe { frequency.write_unaligned(PER_SECOND) };
        Ok(TRUE)
    }

    /// `GetSystemTime`: in UTC.
    fn ovl_GetSystemTime(time: *mut SYSTEMTIME) {
        if let Ok(parts) = parts(now(), libc::gmtime_r) {
            // SAFETY: the caller's.
            unsafe { put(time, parts) };
        }
    }

    /// `GetLocalTime`.
    fn ovl_GetLocalTime(time: *mut SYSTEMTIME) {
        if let Ok(parts) = parts(now(), libc::localtime_r) {
            // SAFETY: the caller's.
            unsafe { put(time, parts) };
        }
    }

    /// `GetSystemTimeAsFileTime`.
    fn ovl_GetSystemTimeAsFileTime(time: *mut FILETIME) {
        // SAFETY: the caller's.
        unsafe { put(time, FILETIME::of(now())) };
    }

    /// `GetSystemTimePreciseAsFileTime`.
    fn ovl_GetSystemTimePreciseAsFileTime(time: *mut FILETIME) {
        // SAFETY: the caller's.
        unsafe { put(time, FILETIME::of(now())) };
    }

    /// `FileTimeToSystemTime`.
    fn ovl_FileTimeToSystemTime(from: *const FILETIME, to: *mut SYSTEMTIME) -> BOOL, else (FALSE) {
        // SAFETY: null or the caller's.
        let Some(from) = (unsafe { from.as_ref() }) else { return Err(Code::INVALID_PARAMETER) };
        if from.units() < 0 {
            return Err(Code::INVALID_PARAMETER);
        }
        let parts = parts(from.units(), libc::gmtime_r)?;
        // SAFETY: the caller's.
        unsafe { put(to, parts) };
        Ok(TRUE)
    }

    /// `SystemTimeToFileTime`.
    fn ovl_SystemTimeToFileTime(from: *const SYSTEMTIME, to: *mut FILETIME) -> BOOL, else (FALSE) {
        // SAFETY: null or the caller's.
        let Some(from) = (unsafe { from.as_ref() }) else { return Err(Code::INVALID_PARAMETER) };
        let units = units(from)?;
        // SAFETY: the caller's.
        unsafe { put(to, FILETIME::of(units)) };
        Ok(TRUE)
    }

    /// `FileTimeToLocalFileTime`.
    fn ovl_FileTimeToLocalFileTime(from: *const FILETIME, to: *mut FILETIME) -> BOOL, else (FALSE) {
        // SAFETY: null or the caller's.
        let Some(from) = (unsafe { from.as_ref() }) else { return Err(Code::INVALID_PARAMETER) };
        let local = units(&parts(from.units(), libc::localtime_r)?)?;
        let below = (from.units() - UNTIL_1970).rem_euclid(10_000);
        // SAFETY: the caller's.
        unsafe { put(to, FILETIME::of(local + below)) };
        Ok(TRUE)
    }

    /// `CompareFileTime`.
    fn ovl_CompareFileTime(a: *const FILETIME, b: *const FILETIME) -> i32 {
        // SAFETY: both are the caller's.
        let (a, b) = unsafe { (a.read().units(), b.read().units()) };
        a.cmp(&b) as i32
    }

    /// `GetProcessTimes`, of this process.
    fn ovl_GetProcessTimes(_process: HANDLE, created: *mut FILETIME, ended: *mut FILETIME, kernel: *mut FILETIME, user: *mut FILETIME)
        -> BOOL, else (FALSE) {
        let mut usage = MaybeUninit::<libc::rusage>::uninit();
        // SAFETY: the kernel fills the place, and for this process it always can.
        let usage = unsafe {
            libc::getrusage(libc::RUSAGE_SELF, usage.as_mut_ptr());
            usage.assume_init()
        };
        let spent = |time: libc::timeval| FILETIME::of(time.tv_sec * PER_SECOND + time.tv_usec * 10);
        // SAFETY: null or the caller's.
        unsafe {
            put(created, FILETIME::of(now() - clock(libc::CLOCK_PROCESS_CPUTIME_ID)));
            put(ended, FILETIME::of(0));
            put(kernel, spent(usage.ru_stime));
            put(user, spent(usage.ru_utime));
        }
        Ok(TRUE)
    }
}

/// `time_t` of C programs is the C library's.
const _: () = assert!(size_of::<c_long>() == 8);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_and_units_are_each_others_inverse() {
        for units_since_1601 in
            [0, 864_000_000_000, UNTIL_1970 - 1, UNTIL_1970, UNTIL_1970 + 951_782_400 * PER_SECOND, now()]
        {
            let whole = units_since_1601 / 10_000 * 10_000;
            let made = parts(whole, libc::gmtime_r).expect("a time of this calendar");
            assert_eq!(units(&made), Ok(whole), "{whole}");
        }
    }

    #[test]
    fn days_that_do_not_exist_are_refused() {
        let time = |year, month, day| SYSTEMTIME {
            year,
            month,
            day_of_week: 0,
            day,
            hour: 0,
            minute: 0,
            second: 0,
            milliseconds: 0,
        };
        assert!(units(&time(2000, 2, 29)).is_ok());
        for wrong in [time(1900, 2, 29), time(2026, 13, 1), time(2026, 4, 31), time(1600, 1, 1), time(2026, 1, 0)] {
            assert_eq!(units(&wrong), Err(Code::INVALID_PARAMETER));
        }
    }
}
