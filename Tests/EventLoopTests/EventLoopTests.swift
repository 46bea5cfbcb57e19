import Glibc
import Synchronization
import Testing

@testable import EventLoop

/// Records what a loop called, and ends the loop after a number of calls.
private final class Recorder: EventHandler {
    var readiness: [Readiness] = []
    var deadlines: [MonotonicInstant] = []
    let loop: EventLoop
    let stopAfter: Int

    init(_ loop: EventLoop, stopAfter: Int) {
        self.loop = loop
        self.stopAfter = stopAfter
    }

    func ready(_ readiness: Readiness) {
        self.readiness.append(readiness)
        stopWhenDone()
    }

    func deadlinePassed() {
        deadlines.append(loop.now)
        stopWhenDone()
    }

    private func stopWhenDone() {
        if readiness.count + deadlines.count >= stopAfter { loop.stop() }
    }
}

/// Asks twice to be called again, each time it is called, and every second time makes its descriptor ready besides.
private final class Restless: EventHandler {
    var registration: Registration?
    var readiness: [Readiness] = []
    /// Handlers that had run in the same turn, at each call.
    var handlersBefore: [Int] = []
    let loop: EventLoop
    let writer: CInt
    let calls: Int

    init(_ loop: EventLoop, _ writer: CInt, calls: Int) {
        self.loop = loop
        self.writer = writer
        self.calls = calls
    }

    func ready(_ readiness: Readiness) {
        self.readiness.append(readiness)
        handlersBefore.append(loop.handlersRun)
        guard let registration, handlersBefore.count < calls else {
            loop.stop()
            return
        }
        loop.callAgain(registration)
        loop.callAgain(registration)
        var byte: UInt8 = 1
        if handlersBefore.count % 2 == 0 { #expect(unsafe write(writer, &byte, 1) == 1) }
    }

    func deadlinePassed() {}
}

/// Does what it is told each time it is called, and counts.
private final class Scripted: EventHandler {
    var calls = 0
    var script: (Scripted) -> Void = { _ in }

    func ready(_ readiness: Readiness) {
        calls += 1
        script(self)
    }

    func deadlinePassed() {}
}

@Suite struct EventLoopTests {
    @Test func `of those due in one turn each is called once, but for one that another ends`() throws {
        let loop = try EventLoop()
        let handlers = (0..<4).map { _ in Scripted() }
        let registrations = handlers.map { loop.register(handler: $0) }
        handlers[0].script = { first in
            loop.end(registrations[1])
            // In the first and the third turn they are due already; in the second they are asked for the third.
            for registration in registrations { loop.callAgain(registration) }
            if first.calls == 3 { loop.stop() }
        }
        for registration in registrations { loop.callAgain(registration) }
        loop.run()
        #expect(handlers.map(\.calls) == [3, 0, 2, 2])
    }

    @Test func `a call that is asked for again and again comes`() throws {
        let loop = try EventLoop()
        let restless = Scripted()
        let patient = Scripted()
        let first = loop.register(handler: restless)
        let second = loop.register(handler: patient)
        restless.script = { restless in
            loop.callAgain(first)
            loop.callAgain(second)
            if restless.calls == 10 { loop.stop() }
        }
        loop.callAgain(first)
        loop.callAgain(second)
        loop.run()
        // In every second turn: asked for while it was due, it came in that turn.
        #expect(patient.calls == 5)
    }

    @Test func `tells a handler that its descriptor is readable`() throws {
        let loop = try EventLoop()
        var ends: [CInt] = [0, 0]
        #expect(unsafe pipe(&ends) == 0)
        let reader = Descriptor(adopting: ends[0])
        let writer = Descriptor(adopting: ends[1])
        let recorder = Recorder(loop, stopAfter: 1)
        _ = try loop.register(reader.number, handler: recorder)
        var byte: UInt8 = 1
        #expect(unsafe write(writer.number, &byte, 1) == 1)
        loop.run()
        #expect(recorder.readiness.first?.contains(.readable) == true)
    }

    @Test func `a registration that is handed on keeps its descriptor and its deadline`() throws {
        let loop = try EventLoop()
        var ends: [CInt] = [0, 0]
        #expect(unsafe pipe(&ends) == 0)
        let reader = Descriptor(adopting: ends[0])
        let writer = Descriptor(adopting: ends[1])
        let first = Recorder(loop, stopAfter: 1)
        let second = Recorder(loop, stopAfter: 2)
        let registration = try loop.register(reader.number, handler: first)
        loop.setDeadline(MonotonicInstant.current().advanced(byNanoseconds: 10_000_000), for: registration)
        loop.hand(registration, to: second)
        var byte: UInt8 = 1
        #expect(unsafe write(writer.number, &byte, 1) == 1)
        loop.run()
        #expect(first.readiness.isEmpty && first.deadlines.isEmpty)
        #expect(second.readiness.count == 1 && second.deadlines.count == 1)
    }

    @Test func `a deadline is met, and never early`() throws {
        let loop = try EventLoop()
        let recorder = Recorder(loop, stopAfter: 1)
        let registration = loop.register(handler: recorder)
        let deadline = MonotonicInstant.current().advanced(byNanoseconds: 30_000_000)
        loop.setDeadline(deadline, for: registration)
        loop.run()
        #expect(recorder.deadlines.count == 1)
        #expect(try #require(recorder.deadlines.first) >= deadline)
    }

    @Test func `a deadline that is moved later fires once, at its last place`() throws {
        let loop = try EventLoop()
        let recorder = Recorder(loop, stopAfter: 1)
        let registration = loop.register(handler: recorder)
        let start = MonotonicInstant.current()
        for step in 1...5 {
            loop.setDeadline(start.advanced(byNanoseconds: UInt64(step) * 20_000_000), for: registration)
        }
        loop.run()
        #expect(recorder.deadlines.count == 1)
        #expect(try #require(recorder.deadlines.first) >= start.advanced(byNanoseconds: 100_000_000))
    }

    @Test func `a deadline that is moved earlier is met at the earlier time`() throws {
        let loop = try EventLoop()
        let recorder = Recorder(loop, stopAfter: 1)
        let registration = loop.register(handler: recorder)
        let start = MonotonicInstant.current()
        loop.setDeadline(start.advanced(byNanoseconds: 600_000_000_000), for: registration)
        loop.setDeadline(start.advanced(byNanoseconds: 20_000_000), for: registration)
        loop.run()
        #expect(recorder.deadlines.count == 1)
    }

    @Test func `an ended registration hears nothing, and its place serves another`() throws {
        let loop = try EventLoop()
        let ended = Recorder(loop, stopAfter: 1)
        let live = Recorder(loop, stopAfter: 1)
        let first = loop.register(handler: ended)
        loop.setDeadline(MonotonicInstant.current().advanced(byNanoseconds: 1_000_000), for: first)
        loop.end(first)
        let second = loop.register(handler: live)
        #expect(first != second)
        #expect(loop.handler(of: first) == nil)
        loop.setDeadline(MonotonicInstant.current().advanced(byNanoseconds: 40_000_000), for: second)
        loop.run()
        #expect(ended.deadlines.isEmpty)
        #expect(live.deadlines.count == 1)
    }

    @Test func `a handler that asks to be called again is called once in each turn, ready or not`() throws {
        let loop = try EventLoop()
        var ends: [CInt] = [0, 0]
        #expect(unsafe pipe(&ends) == 0)
        let reader = Descriptor(adopting: ends[0])
        let writer = Descriptor(adopting: ends[1])
        let restless = Restless(loop, writer.number, calls: 8)
        restless.registration = try loop.register(reader.number, handler: restless)
        var byte: UInt8 = 1
        #expect(unsafe write(writer.number, &byte, 1) == 1)
        loop.run()
        #expect(restless.handlersBefore == Array(repeating: 0, count: 8))
        #expect(restless.readiness.dropFirst().allSatisfy { $0.isSuperset(of: [.readable, .writable]) })
    }

    @Test func `jobs from other threads run on the loop in order`() throws {
        let loop = try EventLoop()
        let mailbox = loop.mailbox
        let seen = Mutex<[Int]>([])
        let counter = SeenBox(seen: seen)
        let thread = try LoopThread(name: "poster") {
            for number in 0..<1000 { mailbox.post { _ in counter.append(number) } }
            mailbox.post { loop in loop.stop() }
        }
        loop.run()
        thread.join()
        #expect(counter.values == Array(0..<1000))
    }

    @Test func `actions at the end of a turn run after its handlers, those they add too`() throws {
        let loop = try EventLoop()
        var order: [String] = []
        loop.atEndOfTurn {
            order.append("first")
            loop.atEndOfTurn {
                order.append("added")
                loop.stop()
            }
        }
        loop.mailbox.post { _ in }
        loop.run()
        #expect(order == ["first", "added"])
    }
}

private final class SeenBox: Sendable {
    private let seen: Mutex<[Int]>
    init(seen: consuming Mutex<[Int]>) { self.seen = seen }
    func append(_ number: Int) { seen.withLock { $0.append(number) } }
    var values: [Int] { seen.withLock { $0 } }
}

@Suite struct TimerWheelTests {
    @Test(arguments: [1, 16, 17, 1000, 4095 * 17, 4096 * 17, 5000 * 17, 200_000] as [UInt64])
    func `an entry comes due at its tick and not before`(milliseconds: UInt64) {
        var wheel = TimerWheel(now: MonotonicInstant(nanoseconds: 0))
        let deadline = MonotonicInstant(nanoseconds: milliseconds * 1_000_000)
        let wanted = TimerWheel.tick(of: deadline)
        var placed = wheel.insert(7, at: wanted)
        var tick: UInt64 = 0
        while true {
            var due: [UInt64] = []
            wheel.takeDue(now: MonotonicInstant(nanoseconds: tick << TimerWheel.tickShift), into: &due)
            if due == [7] {
                #expect(tick == placed)
                if placed == wanted { break }
                placed = wheel.insert(7, at: wanted)
            }
            tick += 1
            #expect(tick <= wanted + 1)
            if tick > wanted + 1 { return }
        }
        #expect(tick << TimerWheel.tickShift >= deadline.nanoseconds)
    }

    @Test func `a clock that jumps far ahead still yields every entry`() {
        var wheel = TimerWheel(now: MonotonicInstant(nanoseconds: 0))
        for entry in 0..<100 as Range<UInt64> { _ = wheel.insert(entry, at: entry * 30) }
        var due: [UInt64] = []
        wheel.takeDue(now: MonotonicInstant(nanoseconds: 1 << 50), into: &due)
        #expect(due.sorted() == Array(0..<100))
    }
}
