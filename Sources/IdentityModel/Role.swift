/// A named set of scopes that users are given.
public struct Role: Hashable, Sendable, Comparable, CustomStringConvertible {
    /// 1 to 64 bytes: letters, digits, `_`, `-`, `.` and `:`.
    public let name: String

    /// `nil` when the text is no role name.
    public init?(_ name: String) {
        guard (1...64).contains(name.utf8.count), name.utf8.allSatisfy(Role.isNameByte) else { return nil }
        self.name = name
    }

    /// For people.
    public var description: String { name }

    /// By order.
    public static func < (left: Role, right: Role) -> Bool { left.name < right.name }

    static func isNameByte(_ byte: UInt8) -> Bool {
        switch byte {
        case UInt8(ascii: "a")...UInt8(ascii: "z"), UInt8(ascii: "A")...UInt8(ascii: "Z"),
            UInt8(ascii: "0")...UInt8(ascii: "9"), UInt8(ascii: "_"), UInt8(ascii: "-"), UInt8(ascii: "."),
            UInt8(ascii: ":"):
            true
        default: false
        }
    }
}
