internal import CYAML

/// Builds a tree of nodes from libyaml's events.
///
/// What makes one text read two ways, or a small file grow, is refused: anchors and aliases, tags, directives, several
/// documents, duplicate keys, bytes that are not UTF-8, deep nesting, many nodes. A refusal that leaves the rest
/// readable is collected and reading goes on; a syntax error ends it.
@safe struct YAMLComposer: ~Copyable {
    /// Bounds on what a file may cost to read.
    struct Caps {
        var bytesMax = 1 << 20
        var depthMax = 32
        var nodesMax = 100_000
    }

    /// The tree, as far as it could be read, and everything that was refused.
    struct Outcome {
        var root: YAMLNode?
        var problems: [Problem]
    }

    struct Problem: Error {
        let path: ConfigurationPath
        let line: Int
        let column: Int
        let message: String
        let cure: String
    }

    static func compose(_ bytes: [UInt8], caps: Caps = Caps()) -> Outcome {
        guard bytes.count <= caps.bytesMax else {
            return Outcome(problems: [
                Problem(
                    path: .root, line: 1, column: 1, message: "the file has \(bytes.count) bytes",
                    cure: "at most \(caps.bytesMax) are read")
            ])
        }
        if let place = UTF8Check.firstInvalid(in: bytes) {
            return Outcome(problems: [
                Problem(
                    path: .root, line: place.line, column: place.column, message: "these bytes are not UTF-8",
                    cure: "save the file as UTF-8")
            ])
        }
        // The buffer outlives the parser that points into it: both end with this call.
        return unsafe bytes.withUnsafeBufferPointer { input in
            guard var composer = unsafe YAMLComposer(input: input, caps: caps) else {
                return Outcome(problems: [
                    Problem(path: .root, line: 1, column: 1, message: "out of memory", cure: "free some")
                ])
            }
            return composer.run()
        }
    }

    // libyaml's parser points into itself, so it has one address from `init` to `deinit`.
    private let parser: UnsafeMutablePointer<yaml_parser_t>
    private let caps: Caps
    private var nodeCount = 0
    private var problems: [Problem] = []

    private init?(input: UnsafeBufferPointer<UInt8>, caps: Caps) {
        self.caps = caps
        unsafe parser = .allocate(capacity: 1)
        // `yaml_parser_initialize` clears the memory before it reads any of it.
        guard unsafe yaml_parser_initialize(parser) == 1 else {
            unsafe parser.deallocate()
            return nil
        }
        unsafe yaml_parser_set_encoding(parser, YAML_UTF8_ENCODING)
        unsafe yaml_parser_set_input_string(parser, input.baseAddress, input.count)
    }

    deinit {
        unsafe yaml_parser_delete(parser)
        unsafe parser.deallocate()
    }

    private mutating func run() -> Outcome {
        do throws(Problem) {
            return Outcome(root: try document(), problems: problems)
        } catch {
            return Outcome(problems: problems + [error])
        }
    }

    private mutating func document() throws(Problem) -> YAMLNode? {
        var root: YAMLNode?
        var hasDocument = false
        while true {
            let event = try next(at: .root)
            switch event.kind {
            case .documentStart where hasDocument:
                throw problem(event, .root, "a second document begins here", cure: "one file holds one document")
            case .documentStart:
                hasDocument = true
                if event.hasDirective {
                    report(event, .root, "a directive stands before the document", cure: "remove the '%' line")
                }
            case .streamEnd:
                return root
            case .streamStart, .documentEnd:
                continue
            default:
                root = try node(event, at: .root, depth: 0)
            }
        }
    }

    private mutating func node(_ event: Event, at path: ConfigurationPath, depth: Int) throws(Problem) -> YAMLNode {
        nodeCount += 1
        guard nodeCount <= caps.nodesMax else {
            throw problem(event, path, "the file holds too many values", cure: "at most \(caps.nodesMax) are read")
        }
        guard depth <= caps.depthMax else {
            throw problem(event, path, "the nesting is too deep", cure: "at most \(caps.depthMax) levels are read")
        }
        if event.hasAnchor {
            report(
                event, path, "an anchor ('&') stands here", cure: "anchors are refused: write each value where it holds"
            )
        }
        if event.hasTag {
            report(event, path, "a tag ('!') stands here", cure: "tags are refused: the setting says what its value is")
        }
        let value: YAMLNode.Value
        switch event.kind {
        case .scalar(let text, let isQuoted):
            value = .scalar(text: text, isQuoted: isQuoted)
        case .sequenceStart:
            value = .sequence(try sequence(at: path, depth: depth))
        case .mappingStart:
            value = .mapping(try mapping(at: path, depth: depth))
        case .alias:
            report(
                event, path, "an alias ('*') stands here",
                cure: "aliases are refused: write the value out, or quote it if it is text")
            value = .refused
        default:
            throw problem(event, path, "nothing can be read here", cure: "write a value")
        }
        return YAMLNode(value: value, line: event.line, column: event.column)
    }

    private mutating func sequence(at path: ConfigurationPath, depth: Int) throws(Problem) -> [YAMLNode] {
        var members: [YAMLNode] = []
        while true {
            let memberPath = path.index(members.count)
            let event = try next(at: memberPath)
            if case .sequenceEnd = event.kind { return members }
            members.append(try node(event, at: memberPath, depth: depth + 1))
        }
    }

    private mutating func mapping(at path: ConfigurationPath, depth: Int) throws(Problem) -> [YAMLPair] {
        var pairs: [YAMLPair] = []
        var lines: [String: Int] = [:]
        while true {
            let event = try next(at: path)
            if case .mappingEnd = event.kind { return pairs }
            guard case .scalar(let key, let isQuoted) = event.kind, !event.hasAnchor, !event.hasTag else {
                throw problem(event, path, "a key is no plain text", cure: "write a word as the key")
            }
            let keyPath = path.key(key)
            if key == "<<", !isQuoted {
                report(
                    event, path, "a merge key ('<<') stands here",
                    cure: "merging is refused: write each value where it holds")
            }
            let value = try node(try next(at: keyPath), at: keyPath, depth: depth + 1)
            if let first = lines[key] {
                report(
                    event, keyPath, "the key stands here a second time, first in line \(first)",
                    cure: "keep one of them")
                continue
            }
            lines[key] = event.line
            if key == "<<", !isQuoted { continue }
            pairs.append(YAMLPair(key: key, line: event.line, column: event.column, node: value))
        }
    }

    private func problem(_ event: Event, _ path: ConfigurationPath, _ message: String, cure: String) -> Problem {
        Problem(path: path, line: event.line, column: event.column, message: message, cure: cure)
    }

    private mutating func report(_ event: Event, _ path: ConfigurationPath, _ message: String, cure: String) {
        problems.append(problem(event, path, message, cure: cure))
    }
}

extension YAMLComposer {
    /// What is kept of one event of libyaml.
    private struct Event {
        enum Kind {
            case streamStart, streamEnd, documentStart, documentEnd
            case alias, sequenceStart, sequenceEnd, mappingStart, mappingEnd
            case scalar(text: String, isQuoted: Bool)
        }
        var kind: Kind
        var line: Int
        var column: Int
        var hasAnchor = false
        var hasTag = false
        var hasDirective = false
    }

    private mutating func next(at path: ConfigurationPath) throws(Problem) -> Event {
        var raw = unsafe yaml_event_t()
        guard unsafe yaml_parser_parse(parser, &raw) == 1 else { throw syntaxProblem(at: path) }
        // The event owns what its pointers lead to until it is deleted, and `event(from:)` copies.
        defer { unsafe yaml_event_delete(&raw) }
        return unsafe YAMLComposer.event(from: raw)
    }

    /// Each member of the union is read only for the kind of event that libyaml fills it for.
    private static func event(from raw: yaml_event_t) -> Event {
        let line = unsafe Int(raw.start_mark.line) + 1
        let column = unsafe Int(raw.start_mark.column) + 1
        var event = Event(kind: .streamStart, line: line, column: column)
        switch unsafe raw.type {
        case YAML_STREAM_END_EVENT: event.kind = .streamEnd
        case YAML_DOCUMENT_START_EVENT:
            let start = unsafe raw.data.document_start
            event.kind = .documentStart
            event.hasDirective =
                unsafe start.version_directive != nil || start.tag_directives.start != start.tag_directives.end
        case YAML_DOCUMENT_END_EVENT: event.kind = .documentEnd
        case YAML_ALIAS_EVENT: event.kind = .alias
        case YAML_SEQUENCE_START_EVENT:
            event.kind = .sequenceStart
            event.hasAnchor = unsafe raw.data.sequence_start.anchor != nil
            event.hasTag = unsafe raw.data.sequence_start.tag != nil
        case YAML_SEQUENCE_END_EVENT: event.kind = .sequenceEnd
        case YAML_MAPPING_START_EVENT:
            event.kind = .mappingStart
            event.hasAnchor = unsafe raw.data.mapping_start.anchor != nil
            event.hasTag = unsafe raw.data.mapping_start.tag != nil
        case YAML_MAPPING_END_EVENT: event.kind = .mappingEnd
        case YAML_SCALAR_EVENT:
            let scalar = unsafe raw.data.scalar
            // A scalar has `length` bytes at `value`, NUL not counted; the input was found to be UTF-8 before.
            let bytes = unsafe UnsafeBufferPointer(start: scalar.value, count: scalar.length)
            let text = unsafe String(decoding: bytes, as: UTF8.self)
            event.kind = .scalar(text: text, isQuoted: unsafe scalar.style != YAML_PLAIN_SCALAR_STYLE)
            event.hasAnchor = unsafe scalar.anchor != nil
            event.hasTag = unsafe scalar.tag != nil
        default: break
        }
        return event
    }

    /// libyaml's own words for what it could not read; they are constants and hold nothing of the file.
    private func syntaxProblem(at path: ConfigurationPath) -> Problem {
        let words = unsafe parser.pointee.problem.map { unsafe String(cString: $0) } ?? "it cannot be read"
        let line: Int
        let column: Int
        if unsafe parser.pointee.error == YAML_READER_ERROR {
            line = unsafe Int(parser.pointee.mark.line) + 1
            column = unsafe Int(parser.pointee.mark.column) + 1
        } else {
            line = unsafe Int(parser.pointee.problem_mark.line) + 1
            column = unsafe Int(parser.pointee.problem_mark.column) + 1
        }
        return Problem(
            path: path, line: line, column: column, message: "this is not YAML: \(words)",
            cure: "look at the indentation, quotes and brackets on this line and the one before")
    }
}

/// Finds the first place where bytes stop being UTF-8 (RFC 3629).
enum UTF8Check {
    /// Line and column from 1, the column in characters; `nil` when everything is UTF-8.
    static func firstInvalid(in bytes: [UInt8]) -> (line: Int, column: Int)? {
        var decoder = Unicode.UTF8.ForwardParser()
        var input = bytes.makeIterator()
        var line = 1
        var column = 1
        while true {
            switch decoder.parseScalar(from: &input) {
            case .valid(let scalar):
                let isLineFeed = scalar.count == 1 && scalar.first == UInt8(ascii: "\n")
                line += isLineFeed ? 1 : 0
                column = isLineFeed ? 1 : column + 1
            case .error: return (line, column)
            case .emptyInput: return nil
            }
        }
    }
}
