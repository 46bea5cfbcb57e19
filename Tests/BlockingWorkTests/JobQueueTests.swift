import BlockingWork
import Testing

@Suite struct JobQueueTests {
    @Test func `jobs come out in their order, up to the capacity`() {
        let queue = JobQueue<Int>(capacity: 2)
        #expect(queue.add(1))
        #expect(queue.add(2))
        #expect(!queue.add(3))
        #expect(queue.next() == 1)
        #expect(queue.add(4))
        #expect(queue.next() == 2)
        #expect(queue.next() == 4)
    }

    @Test func `jobs that nobody waits for make room for new ones`() {
        let queue = JobQueue<Int>(capacity: 2)
        #expect(queue.add(1))
        #expect(queue.add(2))
        #expect(queue.add(3, droppingWhere: { $0 == 1 }))
        #expect(queue.next() == 2)
        #expect(queue.next() == 3)
    }

    @Test func `a closed queue hands out what it has, then ends, for each thread that asks`() {
        let queue = JobQueue<Int>(capacity: 2)
        #expect(queue.add(1))
        queue.close()
        #expect(!queue.add(2))
        #expect(queue.next() == 1)
        #expect(queue.next() == nil)
        #expect(queue.next() == nil)
    }

    @Test func `a queue hands out what waits in order, up to the size of a group`() {
        let queue = JobQueue<Int>(capacity: 3)
        #expect(queue.add(1))
        #expect(queue.add(2))
        #expect(queue.add(3))
        #expect(!queue.add(4))
        #expect(queue.next(max: 2) == [1, 2])
        #expect(queue.next(max: 2) == [3])
        #expect(queue.add(5))
        #expect(queue.next(max: 2) == [5])
        queue.close()
        #expect(!queue.add(6))
        #expect(queue.next(max: 2) == nil)
        #expect(queue.next(max: 2) == nil)
    }
}
