import COpenSSL
import ProxyCore
import Testing

@testable import AuthGateway

@Suite struct TicketKeyRingTests {
    private func line(_ key: [UInt8]) -> [UInt8] {
        var text = [UInt8](repeating: 0, count: 109)
        // 80 bytes become 108 digits and a NUL.
        _ = unsafe EVP_EncodeBlock(&text, key, 80)
        return Array(text.prefix(108))
    }

    private func key(_ seed: UInt8) -> [UInt8] { (0..<80).map { UInt8($0) &* 3 &+ seed } }

    /// A ring that is asked at certain seconds.
    private final class Ring {
        var ring: TicketKeyRing

        init(file: [TicketKey]?) { ring = TicketKeyRing(file: file, now: .zero) }

        func rotates(at second: Int) -> Bool { ring.rotate(at: .seconds(second), every: .seconds(60)) }
        func takes(_ file: [TicketKey]?, at second: Int) -> Bool { ring.take(file, at: .seconds(second)) }
    }

    @Test func `own keys change at the interval and not before, whatever a reload finds`() {
        let ring = Ring(file: nil)
        let first = ring.ring.keys
        #expect(!ring.rotates(at: 59) && !ring.takes(nil, at: 59))
        #expect(ring.ring.keys === first)
        #expect(ring.rotates(at: 60))
        #expect(ring.ring.keys !== first)
        #expect(!ring.rotates(at: 119) && ring.rotates(at: 120))
    }

    @Test func `keys of a file stay, and are replaced when the file is another`() throws {
        let one = try TicketKeyFile.parse(line(key(1)))
        let two = try TicketKeyFile.parse(line(key(2)) + [10] + line(key(1)) + [10])
        let ring = Ring(file: one)
        let first = ring.ring.keys
        #expect(!ring.rotates(at: 1000) && !ring.takes(one, at: 1000))
        #expect(ring.ring.keys === first)
        #expect(ring.takes(two, at: 1000))
        #expect(ring.ring.keys !== first)
        #expect(ring.takes(nil, at: 1000) && !ring.rotates(at: 1059) && ring.takes(two, at: 1060))
    }

    @Test func `a file has one key or more, each 80 random bytes on a line`() throws {
        let lines = (0..<16).map { line(key(UInt8($0))) }
        #expect(try TicketKeyFile.parse(lines[0]).count == 1)
        #expect(try TicketKeyFile.parse(lines[0] + [13, 10, 10] + lines[1]) == [TicketKey(key(0)), TicketKey(key(1))])
        #expect(try TicketKeyFile.parse(Array(lines.joined(separator: [10]))).count == 16)
        let tooMany = lines + [line(key(16))]
        let spaced = [32] + lines[0]
        let unpadded = lines[0].dropLast() + [65]
        let wrong: [[UInt8]] = [
            [], [10], Array(lines[0].dropLast()), lines[0] + [65], Array(spaced), Array(unpadded),
            line(Array(repeating: 7, count: 80)), lines[0] + [10] + lines[0], Array(tooMany.joined(separator: [10])),
            Array(repeating: 33, count: 108),
        ]
        for text in wrong {
            #expect(throws: TicketKeysError.self, "\(text.count)") { try TicketKeyFile.parse(text) }
        }
    }
}
