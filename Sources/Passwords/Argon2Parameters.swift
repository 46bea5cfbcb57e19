/// What one Argon2id hash costs (RFC 9106 section 3.1).
public struct Argon2Parameters: Sendable, Equatable {
    /// Memory in KiB.
    public let memoryKiB: UInt32
    /// Passes over the memory.
    public let passes: UInt32
    /// Lanes.
    public let lanes: UInt32

    /// 19 MiB, two passes, one lane: the OWASP recommendation for Argon2id.
    public static let standard = Argon2Parameters(checked: 19_456, 2, 1)

    /// `nil` outside of what this program is willing to spend on one sign-in: 8 KiB for each lane to 256 MiB,
    /// 1 to 16 passes, 1 to 8 lanes. A stored hash beyond that is refused instead of stopping everybody's sign-in.
    public init?(memoryKiB: UInt32, passes: UInt32, lanes: UInt32) {
        guard (1...8).contains(lanes), (1...16).contains(passes), (8 * lanes...262_144).contains(memoryKiB) else {
            return nil
        }
        self.init(checked: memoryKiB, passes, lanes)
    }

    private init(checked memoryKiB: UInt32, _ passes: UInt32, _ lanes: UInt32) {
        self.memoryKiB = memoryKiB
        self.passes = passes
        self.lanes = lanes
    }
}
