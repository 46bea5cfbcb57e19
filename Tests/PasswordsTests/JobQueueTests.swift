import Testing

@testable import Passwords

@Suite struct JobQueueTests {
    @Test func `jobs come out in their order, up to the capacity`() {
        let queue = JobQueue<Int>(capacity: 2)
        #expect(queue.add(1, droppingWhere: { _ in false }))
        #expect(queue.add(2, droppingWhere: { _ in false }))
        #expect(!queue.add(3, droppingWhere: { _ in false }))
        #expect(queue.next() == 1)
        #expect(queue.add(4, droppingWhere: { _ in false }))
        #expect(queue.next() == 2)
        #expect(queue.next() == 4)
    }

    @Test func `jobs that nobody waits for make room for new ones`() {
        let queue = JobQueue<Int>(capacity: 2)
        #expect(queue.add(1, droppingWhere: { _ in false }))
        #expect(queue.add(2, droppingWhere: { _ in false }))
        #expect(queue.add(3, droppingWhere: { $0 == 1 }))
        #expect(queue.next() == 2)
        #expect(queue.next() == 3)
    }

    @Test func `a closed queue hands out what it has, then ends, for each thread that asks`() {
        let queue = JobQueue<Int>(capacity: 2)
        #expect(queue.add(1, droppingWhere: { _ in false }))
        queue.close()
        #expect(!queue.add(2, droppingWhere: { _ in false }))
        #expect(queue.next() == 1)
        #expect(queue.next() == nil)
        #expect(queue.next() == nil)
    }
}
