import Testing

@testable import AuthGateway

struct BoundedCacheTests {
    @Test(arguments: [0, 1, 2, 3, 4, 7, 100])
    func `holds no more than its bound, whatever is asked of it`(bound: Int) {
        var cache = BoundedCache<Int, Int>(entriesMax: bound)
        var random = SeededGenerator(seed: UInt64(bound))
        var most = 0
        for _ in 0..<3000 {
            let key = Int.random(in: 0..<150, using: &random)
            switch Int.random(in: 0..<4, using: &random) {
            case 0: cache.remove(key)
            case 1: cache.insert(key * 2, for: key)
            default: if let value = cache.value(for: key) { #expect(value == key * 2) }
            }
            most = max(most, cache.count)
        }
        #expect(most <= bound)
        // The bound is used, up to its half at the least.
        #expect(most >= (bound + 1) / 2)
    }

    @Test func `it never holds more than its bound, and keeps what is used`() {
        var cache = BoundedCache<Int, Int>(entriesMax: 10)
        cache.insert(-1, for: -1)
        for number in 0..<100 {
            cache.insert(number, for: number)
            #expect(cache.count <= 10)
            #expect(cache.value(for: number) == number)
            #expect(cache.value(for: -1) == -1)
        }
        #expect(cache.value(for: 0) == nil)
        #expect(cache.value(for: 96) == 96)
    }

    @Test func `an entry that was replaced or removed does not come back`() {
        var cache = BoundedCache<Int, String>(entriesMax: 4)
        cache.insert("old", for: 1)
        cache.insert("b", for: 2)
        cache.insert("c", for: 3)
        cache.insert("new", for: 1)
        #expect(cache.value(for: 1) == "new")
        cache.remove(1)
        #expect(cache.value(for: 1) == nil)
    }

    @Test func `no entry goes before half the bound of others came after it`() {
        var cache = BoundedCache<Int, Int>(entriesMax: 10)
        for key in 0..<100 {
            cache.insert(key, for: key)
            for recent in max(0, key - 5)...key {
                // In a copy: looking an entry up keeps it.
                var copy = cache
                let found = copy.value(for: recent)
                #expect(found == recent)
            }
        }
    }
}
