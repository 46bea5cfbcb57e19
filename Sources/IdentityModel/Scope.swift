/// One OAuth scope token, such as `orders:read` (RFC 6749 section 3.3).
///
/// A segment, the text between two colons, may be `*` alone: it stands for exactly one segment of any text.
public struct Scope: Hashable, Sendable, Comparable, CustomStringConvertible {
    /// The token as it is written on the wire, 1 to 256 bytes.
    public let name: String

    /// Accepts the bytes that RFC 6749 allows in a scope token; `nil` for anything else.
    public init?(_ name: String) {
        guard !name.isEmpty, name.utf8.count <= Scope.bytesMax, name.utf8.allSatisfy(Scope.isTokenByte) else {
            return nil
        }
        self.name = name
    }

    /// For people.
    public var description: String { name }

    /// By order.
    public static func < (left: Scope, right: Scope) -> Bool { left.name < right.name }

    /// Reads a space-separated list (RFC 6749 section 3.3); `nil` when one of its members is no scope token.
    public static func list(_ text: String) -> Set<Scope>? {
        var scopes: Set<Scope> = []
        for word in text.split(separator: " ") {
            guard let scope = Scope(String(word)) else { return nil }
            scopes.insert(scope)
        }
        return scopes
    }

    static let bytesMax = 256

    static func isTokenByte(_ byte: UInt8) -> Bool {
        byte == 0x21 || (0x23...0x5B).contains(byte) || (0x5D...0x7E).contains(byte)
    }
}
