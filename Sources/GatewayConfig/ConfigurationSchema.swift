/// The JSON Schema of `gateway.yaml`, for editors (draft 2020-12).
public enum ConfigurationSchema {
    /// The schema as JSON text.
    public static func json() -> String {
        JSONText.object(
            [
                .init(key: "$schema", value: .string("https://json-schema.org/draft/2020-12/schema")),
                .init(key: "title", value: .string("gateway.yaml")),
            ] + members(of: object(below: "")) + [
                .init(
                    key: "required",
                    value: .array([.string("listeners"), .string("routes")])),
                .init(key: "$defs", value: .members(["variable": variable, "requirement": requirement])),
            ]
        ).rendered() + "\n"
    }

    /// A value with `${NAME}` in it is text until it is read.
    private static let variable = JSONText.members(["type": .string("string"), "pattern": .string("\\$\\{")])

    private static func schema(of declaration: any SettingDeclaration) -> JSONText {
        let summary = declaration.summary
        let body: JSONText
        switch summary.shape {
        case .single: body = withVariable(summary.schema)
        case .list:
            let member = withVariable(summary.schema)
            body = .members(["anyOf": .array([member, array(of: member)])])
        case .mapping(let word):
            let mapping = object(below: declaration.pattern)
            body = word.map { .members(["anyOf": .array([.members(["const": .string($0)]), mapping])]) } ?? mapping
        case .names: body = names(below: declaration.pattern)
        case .listOfMappings: body = array(of: object(below: declaration.pattern + "[]"))
        case .requirement: body = .members(["$ref": .string("#/$defs/requirement")])
        }
        return .object([.init(key: "description", value: .string(declaration.help))] + members(of: body))
    }

    /// Keys of a mapping, none besides.
    private static func object(below pattern: String) -> JSONText {
        var properties: [JSONText.Member] = []
        var required: [JSONText] = []
        for declaration in Settings.all where SettingPattern.parent(of: declaration.pattern) == pattern {
            let key = SettingPattern.key(of: declaration.pattern)
            properties.append(.init(key: SettingPattern.bare(key), value: schema(of: declaration)))
            let summary = declaration.summary
            if summary.isSecret {
                let help = JSONText.string("A file with the value of '\(key)'.")
                properties.append(
                    .init(key: key + "_file", value: .members(["description": help, "type": .string("string")])))
            }
            if summary.isRequired { required.append(.string(key)) }
        }
        var schema: [JSONText.Member] = [
            .init(key: "type", value: .string("object")), .init(key: "additionalProperties", value: .bool(false)),
            .init(key: "properties", value: .object(properties)),
        ]
        if !required.isEmpty { schema.append(.init(key: "required", value: .array(required))) }
        return .object(schema)
    }

    /// A mapping whose keys the file chooses.
    private static func names(below pattern: String) -> JSONText {
        let own = Settings.all.first { $0.pattern == pattern + ".<name>" }
        let member = own.map { schema(of: $0) } ?? object(below: pattern + ".<name>")
        return .members(["type": .string("object"), "additionalProperties": member])
    }

    private static func array(of member: JSONText) -> JSONText {
        .members(["type": .string("array"), "items": member])
    }

    private static func withVariable(_ schema: JSONText) -> JSONText {
        .members(["anyOf": .array([schema, .members(["$ref": .string("#/$defs/variable")])])])
    }

    private static func members(of schema: JSONText) -> [JSONText.Member] {
        guard case .object(let members) = schema else { return [] }
        return members
    }

    private static let requirement: JSONText = {
        let scope = withVariable(SettingType.scope.schema)
        let role = withVariable(SettingType.role.schema)
        let nested = array(of: .members(["$ref": .string("#/$defs/requirement")]))
        let schemas: [String: JSONText] = [
            "authenticated": .members(["const": .bool(true)]),
            "scopes": .members(["anyOf": .array([scope, array(of: scope)])]),
            "roles": .members(["anyOf": .array([role, array(of: role)])]),
            "all_of": nested, "any_of": nested,
        ]
        let properties = Settings.Require.keys.map { key, help in
            JSONText.Member(
                key: key,
                value: .object([.init(key: "description", value: .string(help))] + members(of: schemas[key] ?? .null)))
        }
        return .object([
            .init(key: "type", value: .string("object")), .init(key: "additionalProperties", value: .bool(false)),
            .init(key: "minProperties", value: .integer(1)), .init(key: "properties", value: .object(properties)),
        ])
    }()
}

extension SettingPattern {
    /// A key without the brackets of a list.
    static func bare(_ key: String) -> String { key.hasSuffix("[]") ? String(key.dropLast(2)) : key }
}
