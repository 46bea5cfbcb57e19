/// A value that must not be printed. Each `reveal()` is a place to review.
public struct Secret<Value: Sendable>: Sendable, CustomStringConvertible, CustomDebugStringConvertible,
    CustomReflectable
{
    private let value: Value

    /// Wraps the value; it is printed nowhere from here on.
    public init(_ value: Value) { self.value = value }

    /// The value itself. Do not log, format or compare it with `==`.
    public func reveal() -> Value { value }

    /// For people.
    public var description: String { "<secret>" }
    /// For people.
    public var debugDescription: String { "<secret>" }
    /// Shows no parts.
    public var customMirror: Mirror { Mirror(self, children: []) }
}

extension Secret where Value == [UInt8] {
    /// Compares in time that depends on the lengths only.
    public func matches(_ other: Secret<[UInt8]>) -> Bool {
        guard value.count == other.value.count else { return false }
        var difference: UInt8 = 0
        for index in value.indices { difference |= value[index] ^ other.value[index] }
        return difference == 0
    }
}
