# One CycloneDX list from those of the programs (slurped), with the C libraries ($libraries) that all of them are linked with.
def is_local: (.purl // "") | contains("file://");

[.[].metadata.component | del(.components, .purl)] as $programs
| ($programs | map(."bom-ref")) as $refs
| ($libraries | map(."bom-ref")) as $library_refs
| .[0] + {
    metadata: (.[0].metadata + { component: { type: "application", "bom-ref": "release", name: "k8s-dqlite", version: $version } }),
    components: ([$programs[], (.[].components[] | if is_local then del(.purl) else . end), $libraries[]] | unique_by(."bom-ref")),
    dependencies: (
        [{ ref: "release", dependsOn: $refs }]
        + ([.[].dependencies[] | if .ref | IN($refs[]) then .dependsOn += $library_refs else . end] | unique_by(.ref))
    )
}
