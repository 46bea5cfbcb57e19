/// What a rule asks of a subject; evaluated by `Policy`.
public indirect enum Requirement: Sendable, Equatable {
    /// Any subject, but one.
    case authenticated
    /// A granted scope that covers this one; `*` stands for one segment on either side.
    case scope(Scope)
    /// A role held.
    case role(Role)
    /// Every member holds.
    case allOf([Requirement])
    /// At least one member holds; empty never holds.
    case anyOf([Requirement])
}
