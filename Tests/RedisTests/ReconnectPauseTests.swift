import Testing

@testable import Redis

@Suite struct ReconnectPauseTests {
    @Test func `doubles up to the longest, and lies between half and all of it`() {
        var latest = ReconnectPause(shortest: 50, longest: 1000)
        #expect((0..<8).map { _ in latest.next(random: 0) } == [50, 100, 200, 400, 800, 1000, 1000, 1000])
        var soonest = ReconnectPause(shortest: 50, longest: 1000)
        #expect(soonest.next(random: 25) == 25)
        #expect(soonest.next(random: 50) == 50)
        #expect(soonest.next(random: 100) == 100)
        #expect(soonest.next(random: 200) == 200)
        #expect(soonest.next(random: 401) == 800)
    }

    @Test func `begins anew after a success`() {
        var pause = ReconnectPause(shortest: 50, longest: 1000)
        for _ in 0..<100 { _ = pause.next(random: 0) }
        pause.reset()
        #expect(pause.next(random: 0) == 50)
    }

    @Test(arguments: [(0, 0), (10, 5), (1, UInt64.max), (UInt64.max, UInt64.max)] as [(UInt64, UInt64)])
    func `odd bounds neither overflow nor give zero for ever`(shortest: UInt64, longest: UInt64) {
        var pause = ReconnectPause(shortest: shortest, longest: longest)
        var last: UInt64 = 0
        for _ in 0..<70 { last = pause.next(random: 0) }
        #expect(last == max(1, shortest, longest))
    }
}
