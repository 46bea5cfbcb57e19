public import IdentityModel

/// A requirement laid out flat, made once for each rule and asked for each exchange.
///
/// `holds` allocates nothing: it walks one array and looks into the two sets of the claims.
public struct CompiledRequirement: Sendable {
    /// What was compiled.
    public let source: Requirement
    private let steps: [Step]

    /// Lays out the requirement.
    public init(_ requirement: Requirement) {
        source = requirement
        var steps: [Step] = []
        CompiledRequirement.append(requirement, to: &steps)
        self.steps = steps
    }

    /// Whether a subject with these rights has what is asked for.
    public func holds(scopes: Set<Scope>, roles: Set<Role>) -> Bool { holds(at: 0, scopes, roles) }

    /// The same answer with what is missing; only a refusal costs more than `holds`.
    public func evaluate(scopes: Set<Scope>, roles: Set<Role>) -> RequirementOutcome {
        holds(scopes: scopes, roles: roles) ? .satisfied : judge(source, scopes, roles)
    }

    private func holds(at index: Int, _ scopes: Set<Scope>, _ roles: Set<Role>) -> Bool {
        switch steps[index] {
        case .authenticated:
            return true
        case .scope(let scope):
            return scopes.cover(scope)
        case .role(let role):
            return roles.contains(role)
        case .allOf(let end):
            var member = index + 1
            while member < end {
                guard holds(at: member, scopes, roles) else { return false }
                member = self.end(of: member)
            }
            return true
        case .anyOf(let end):
            var member = index + 1
            while member < end {
                if holds(at: member, scopes, roles) { return true }
                member = self.end(of: member)
            }
            return false
        }
    }

    private func end(of index: Int) -> Int {
        switch steps[index] {
        case .authenticated, .scope, .role: index + 1
        case .allOf(let end), .anyOf(let end): end
        }
    }

    private static func append(_ requirement: Requirement, to steps: inout [Step]) {
        switch requirement {
        case .authenticated: steps.append(.authenticated)
        case .scope(let scope): steps.append(.scope(scope))
        case .role(let role): steps.append(.role(role))
        case .allOf(let members): append(members, as: Step.allOf(end:), to: &steps)
        case .anyOf(let members): append(members, as: Step.anyOf(end:), to: &steps)
        }
    }

    private static func append(_ members: [Requirement], as group: (Int) -> Step, to steps: inout [Step]) {
        let index = steps.count
        steps.append(.authenticated)  // a place for the group, whose end is known only after its members
        for member in members { append(member, to: &steps) }
        steps[index] = group(steps.count)
    }

    /// Preorder: the members of a group stand behind it, up to `end`.
    private enum Step {
        case authenticated
        case scope(Scope)
        case role(Role)
        case allOf(end: Int)
        case anyOf(end: Int)
    }
}
