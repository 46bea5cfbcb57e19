/// A store did not answer. Never to be read as "there is none".
public struct StoreError: Error, Sendable, CustomStringConvertible {
    /// What kind of trouble it is, for code that chooses between cures.
    public enum Reason: Sendable, Equatable {
        /// The store cannot be reached or opened, or something that has no name of its own.
        case unavailable
        /// Its queue was full, or its deadline passed.
        case overloaded
        /// The medium has no room left.
        case full
        /// It may be read, but not written.
        case readOnly
        /// What it holds is damaged, or no store of ours.
        case corrupt
        /// Someone else holds its lock for too long.
        case locked
        /// It was written by a newer version of this program.
        case newerSchema
        /// Others than its owner may read or write it.
        case permissions
        /// The change contradicts what is stored.
        case conflict
    }

    /// What went wrong, for the log; holds no secret and no value of a user.
    public let description: String
    /// What kind of trouble it is.
    public let reason: Reason
    /// Worth another try soon.
    public var isOverload: Bool { reason == .overloaded || reason == .locked }

    /// Makes the error with its kind.
    public init(_ description: String, reason: Reason) {
        self.description = description
        self.reason = reason
    }

    /// Makes an error of no particular kind, or one of overload.
    public init(_ description: String, isOverload: Bool = false) {
        self.init(description, reason: isOverload ? .overloaded : .unavailable)
    }
}
