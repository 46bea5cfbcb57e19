import EventLoop
import RedisTestSupport
import Testing

@testable import Redis

@Suite struct PendingCommandsTests {
    /// What the queue must do, by an array.
    @Test func `keeps its order and its deadlines like a plain array`() {
        var chance = SplitMix(state: 3)
        var queue = PendingCommands()
        var reference: [(deadline: UInt64, waits: Bool, number: Int)] = []
        var called: [Int] = []
        var number = 0
        var clock: UInt64 = 0
        for _ in 0..<4000 {
            switch Int.random(in: 0...9, using: &chance) {
            case 0...5:
                let deadline = clock + UInt64.random(in: 0...300, using: &chance)
                let name = number
                number += 1
                queue.append(
                    .init(
                        sentAt: MonotonicInstant(nanoseconds: clock), deadline: MonotonicInstant(nanoseconds: deadline),
                        waiting: .caller { _ in called.append(name) }))
                reference.append((deadline, true, name))
            case 6...8:
                let entry = queue.removeFirst()
                #expect((entry == nil) == reference.isEmpty)
                guard let entry, !reference.isEmpty else { continue }
                let expected = reference.removeFirst()
                #expect(entry.deadline.nanoseconds == expected.deadline)
                called = []
                if case .caller(let completion) = entry.waiting { completion(.failure(.closed)) }
                #expect(called == (expected.waits ? [expected.number] : []))
            default:
                clock += UInt64.random(in: 0...60, using: &chance)
                called = []
                var expired: [PendingCommands.Completion] = []
                let earliest = queue.expire(at: MonotonicInstant(nanoseconds: clock), into: &expired)
                for completion in expired { completion(.failure(.deadlinePassed)) }
                #expect(called == reference.filter { $0.waits && $0.deadline <= clock }.map(\.number))
                for index in reference.indices where reference[index].deadline <= clock {
                    reference[index].waits = false
                }
                #expect(earliest?.nanoseconds == reference.filter(\.waits).map(\.deadline).min())
            }
            #expect(queue.count == reference.count)
        }
        #expect(number > 2000)
    }
}
