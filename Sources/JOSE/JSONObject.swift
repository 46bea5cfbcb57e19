/// The members of a JSON object in the order of the text; no name occurs twice.
public struct JSONObject: Sendable, Equatable {
    /// A name with its value.
    public struct Member: Sendable, Equatable {
        /// The name, as it is after its escapes were resolved.
        public let name: String
        /// The value.
        public let value: JSONValue

        /// Memberwise.
        public init(name: String, value: JSONValue) {
            self.name = name
            self.value = value
        }

        /// Names are equal when their bytes are.
        public static func == (left: Member, right: Member) -> Bool {
            left.name.isSameBytes(as: right.name) && left.value == right.value
        }
    }

    /// In order.
    public private(set) var members: [Member]

    /// An object without members.
    public init() { members = [] }

    /// The given members in their order; that no name occurs twice is the caller's promise.
    public init(_ members: [(String, JSONValue)]) {
        self.members = members.map { Member(name: $0.0, value: $0.1) }
        let names = Set(members.map(\.0))
        precondition(names.count == members.count, "a member name occurs twice")
    }

    /// Members that the reader has found to be distinct.
    init(distinct members: [Member]) { self.members = members }

    /// The value of the member with exactly this name; setting `nil` removes it, a new name goes to the end.
    public subscript(name: String) -> JSONValue? {
        get { members.first { $0.name.isSameBytes(as: name) }?.value }
        set {
            let index = members.firstIndex { $0.name.isSameBytes(as: name) }
            switch (index, newValue) {
            case (let index?, let value?): members[index] = Member(name: name, value: value)
            case (let index?, nil): members.remove(at: index)
            case (nil, let value?): members.append(Member(name: name, value: value))
            case (nil, nil): break
            }
        }
    }
}

extension JSONObject: ExpressibleByDictionaryLiteral {
    /// An object; that no name occurs twice is the caller's promise.
    public init(dictionaryLiteral elements: (String, JSONValue)...) { self.init(elements) }
}
