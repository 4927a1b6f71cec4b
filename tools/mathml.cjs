// Turns TeX into MathML:  node tools/mathml.cjs MATHJAX < formulas.json > mathml.json
// MATHJAX is the folder of the npm package; formulas are pairs [tex, is it on a line of its own].
const { init } = require(process.argv[2] + "/es5/node-main.js");

async function main() {
  const MathJax = await init({
    loader: { load: ["input/tex"] },
    tex: { packages: { "[-]": ["noundefined"] } }, // an unknown command is an error
  });
  const formulas = JSON.parse(require("fs").readFileSync(0, "utf8"));
  const converted = [];
  for (const [tex, display] of formulas) {
    const mathml = await MathJax.tex2mmlPromise(tex, { display });
    if (mathml.includes("<merror")) throw new Error(`MathJax cannot read the formula ${tex}`);
    converted.push(mathml);
  }
  process.stdout.write(JSON.stringify(converted));
}

main().catch((error) => {
  console.error(error.message);
  process.exit(1);
});
