import Testing

@testable import AuthGateway

/// By reference, because an expectation cannot change a value.
private final class Schedule {
    private var value: RefreshSchedule

    init(interval: Duration) { value = RefreshSchedule(interval: interval) }

    func beginIfDue(at now: Duration) -> Bool { value.beginIfDue(at: now) }
    func beginAfterMiss(at now: Duration) -> Bool { value.beginAfterMiss(at: now) }
    func end(isSuccess: Bool) { value.end(isSuccess: isSuccess) }
}

struct RefreshScheduleTests {
    @Test func `is due at once, then an interval after each success began`() {
        let schedule = Schedule(interval: .seconds(300))
        #expect(schedule.beginIfDue(at: .seconds(7)))
        schedule.end(isSuccess: true)
        #expect(!schedule.beginIfDue(at: .seconds(306)))
        #expect(schedule.beginIfDue(at: .seconds(307)))
    }

    @Test func `begins nothing while a fetch is under way`() {
        let schedule = Schedule(interval: .seconds(1))
        #expect(schedule.beginIfDue(at: .zero))
        #expect(!schedule.beginIfDue(at: .seconds(1000)))
        #expect(!schedule.beginAfterMiss(at: .seconds(1000)))
        schedule.end(isSuccess: true)
        #expect(schedule.beginAfterMiss(at: .seconds(1000)))
    }

    @Test func `R83 a missed key begins a fetch once in 30 seconds, counted from any fetch`() {
        let schedule = Schedule(interval: .seconds(300))
        #expect(schedule.beginAfterMiss(at: .zero))
        schedule.end(isSuccess: true)
        #expect(!schedule.beginAfterMiss(at: .milliseconds(29_999)))
        #expect(schedule.beginAfterMiss(at: .seconds(30)))
        schedule.end(isSuccess: false)
        #expect(schedule.beginIfDue(at: .seconds(35)))
        schedule.end(isSuccess: false)
        #expect(!schedule.beginAfterMiss(at: .milliseconds(64_999)))
    }

    @Test(
        arguments: [
            (300, [5, 10, 20, 40, 60, 60, 60]), (15, [5, 10, 15, 15]), (2, [2, 2, 2]),
        ] as [(Int, [Int])])
    func `tries again sooner after a failure, and less and less often`(interval: Int, waits: [Int]) {
        let schedule = Schedule(interval: .seconds(interval))
        var now = Duration.zero
        #expect(schedule.beginIfDue(at: now))
        for wait in waits {
            schedule.end(isSuccess: false)
            #expect(!schedule.beginIfDue(at: now + .seconds(wait) - .milliseconds(1)))
            now += .seconds(wait)
            #expect(schedule.beginIfDue(at: now))
        }
        schedule.end(isSuccess: true)
        #expect(!schedule.beginIfDue(at: now + .seconds(interval) - .milliseconds(1)))
        #expect(schedule.beginIfDue(at: now + .seconds(interval)))
    }

    @Test func `a thousand failures overflow nothing`() {
        let schedule = Schedule(interval: .seconds(300))
        for attempt in 0..<1000 {
            #expect(schedule.beginIfDue(at: .seconds(60 * attempt)))
            schedule.end(isSuccess: false)
        }
    }
}
